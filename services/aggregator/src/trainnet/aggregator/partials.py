"""Partial sums as stored: 8 bytes of magic, the number of elements (uint64), then one fp64 for each element of the
model in file order, all little-endian."""

from __future__ import annotations

import struct

from trainnet.runtime.store import ObjectNotFound, ObjectStore

MAGIC = b"TNSUM\x00\x00\x01"
HEADER_SIZE = 16


def header(elements: int) -> bytes:
    return MAGIC + struct.pack("<Q", elements)


def size(elements: int) -> int:
    return HEADER_SIZE + 8 * elements


def exists(store: ObjectStore, key: str, elements: int) -> bool:
    """Whether a partial sum of the right size lies there. Its key is a hash of all that it depends on, and objects are
    created whole, so one that exists is right."""
    if not key:
        return False
    try:
        return store.stat(key).size == size(elements)
    except ObjectNotFound:
        return False
