"""Counts rows that repeat an earlier one, in constant memory.

Rows are compared by 64-bit hashes. Beyond a million of them only those whose hash lies below a bound are kept: rows
that are alike are all in or all out, so that the share of duplicates is the file's.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainnet.worker.trainer.data.columns import as_bytes, is_media, is_number
from trainnet.worker.trainer.data.permutation import mix

MOST = 1 << 20
_BLOCK = 1 << 16  # bytes that are hashed at once; what takes several numbers a byte stays in a core's cache
_BASE = 0x9E3779B97F4A7C15
Hashes = NDArray[np.uint64]


def _powers(base: int) -> Hashes:
    powers = np.full(_BLOCK + 1, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


_POWERS, _INVERSES = _powers(_BASE), _powers(pow(_BASE, -1, 2**64))


class DuplicateScan:
    """Takes batches of rows; columns of other types than numbers, text and bytes are not compared."""

    def __init__(self) -> None:
        self._kept: list[Hashes] = []
        self._count = 0
        self._bound = np.uint64(2**64 - 1)

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows."""
        row = np.zeros(batch.num_rows, np.uint64)
        for number, values in enumerate(batch.columns):
            row = mix(row ^ _hashes(values)) + np.uint64(number)
        # Zeros of an empty product are as good as any other number here.
        row = mix(row)
        self._kept.append(row[row <= self._bound])
        self._count += len(self._kept[-1])
        while self._count > MOST:
            self._bound >>= np.uint64(1)
            kept = np.concatenate(self._kept)
            self._kept = [kept[kept <= self._bound]]
            self._count = len(self._kept[0])

    def result(self) -> tuple[int, int]:
        """Rows that repeat another one, and rows that were compared."""
        kept = np.concatenate(self._kept) if self._kept else np.zeros(0, np.uint64)
        return len(kept) - len(np.unique(kept)), len(kept)


def _hashes(values: pa.Array) -> Hashes:
    kind = values.type
    if is_number(kind) and not pa.types.is_decimal(kind):
        numbers = pc.fill_null(pc.cast(values, pa.float64(), safe=False), 0.0).to_numpy(zero_copy_only=False)
        bits = np.ascontiguousarray(numbers + 0.0).view(np.uint64)  # so that -0.0 is 0.0
        return mix(bits ^ np.asarray(pc.is_null(values).to_numpy(zero_copy_only=False), np.uint64))
    if is_media(kind):
        return _of_bytes(as_bytes(values))
    if pa.types.is_nested(kind):
        return np.zeros(len(values), np.uint64)
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
    return _of_text(pc.cast(pc.fill_null(pc.cast(values, pa.string()), "\0"), pa.large_binary()))


def _of_bytes(values: pa.Array) -> Hashes:
    return np.array([_digest(value or b"") for value in values.to_pylist()], np.uint64)


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _of_text(values: pa.Array) -> Hashes:
    """Polynomial hashes modulo 2^64 of all values at once: of the sum of byte times power over everything, the part
    between two offsets, moved to the power 0."""
    _, offsets_buffer, data_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    hashes = np.empty(len(values), np.uint64)
    start = 0
    while start < len(values):
        first = offsets[start]
        end = int(np.searchsorted(offsets, first + _BLOCK, side="right")) - 1
        if end == start:  # longer than a block
            hashes[start] = _digest(data[first : offsets[start + 1]].tobytes())
            start += 1
            continue
        bounds = offsets[start : end + 1] - first
        size = int(bounds[-1])
        sums = np.zeros(size + 1, np.uint64)
        np.cumsum((data[first : first + size] + np.uint64(1)) * _POWERS[:size], out=sums[1:])
        hashes[start:end] = (sums[bounds[1:]] - sums[bounds[:-1]]) * _INVERSES[bounds[:-1]]
        start = end
    return mix(hashes)
