"""Short reads out of longer ones.

What a codec makes of a slice may be a few kilobytes, and an update is read slice by slice: each of those reads would be
a request of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainnet.aggregator.kernels import Bytes

_ALL_BYTES = 16 * 1024 * 1024
"""Of the stretches that are in memory, one for each object."""
_LONGEST = 1024 * 1024
_WORTH = 4  # reads of a stretch at least; else it is not worth its memory


class Reads(Protocol):
    """What reads stretches of objects, as a store does."""

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """Fills `view` from an object's byte `offset` on."""


@dataclass
class _Stretch:
    lock: threading.Lock = field(default_factory=threading.Lock)
    begin: int = 0
    data: Bytes = field(default_factory=lambda: np.zeros(0, np.uint8))


class Stretches:
    """Reads of the objects in `ends`, each in rising order and short of its end; other objects are read as they are.
    Thread-safe."""

    def __init__(self, store: Reads, ends: Mapping[str, int], read_bytes: int) -> None:
        """`read_bytes` is the length of the longest read of one of `ends`."""
        self._store, self._ends = store, ends
        self._size = min(_LONGEST, _ALL_BYTES // max(1, len(ends)))
        worth = self._size >= _WORTH * read_bytes
        self._stretches = {key: _Stretch() for key in ends} if worth else {}

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """As the store does; short reads of an object from the stretch of it that is in memory."""
        stretch = self._stretches.get(key)
        if stretch is None:
            return self._store.read_into(key, offset, view)
        with stretch.lock:
            if not stretch.begin <= offset <= offset + len(view) <= stretch.begin + len(stretch.data):
                size = min(max(self._size, len(view)), max(self._ends[key] - offset, len(view)))
                found = np.empty(size, np.uint8)
                self._store.read_into(key, offset, found.data)
                stretch.begin, stretch.data = offset, found
            begin = offset - stretch.begin
            np.frombuffer(view, np.uint8)[:] = stretch.data[begin : begin + len(view)]
        return None
