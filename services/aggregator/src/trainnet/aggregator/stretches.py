"""Short reads out of longer ones.

Where many updates are in memory side by side, or a codec makes a few kilobytes of a slice, an update is read a little
at a time: each of those reads would be a request of its own, and stores answer short ones slowly (SeaweedFS fetches
whole chunks of some megabytes for them).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainnet.aggregator.kernels import Bytes

_ALL_BYTES = 128 << 20
"""Of the stretches that are in memory, one for each object."""
_LONGEST = 8 << 20
_WORTH = 2  # reads of a stretch at least; else it is not worth its memory


class Reads(Protocol):
    """What reads stretches of objects, as a store does."""

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """Fills `view` from an object's byte `offset` on."""


@dataclass
class _Stretch:
    first: int
    """Length of the first one."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    begin: int = 0
    data: Bytes = field(default_factory=lambda: np.zeros(0, np.uint8))
    memory: Bytes = field(default_factory=lambda: np.zeros(0, np.uint8))

    def holds(self, offset: int, length: int) -> bool:
        return self.begin <= offset <= offset + length <= self.begin + len(self.data)


class Stretches:
    """Reads of the objects in `ends`, each in rising order and short of its end; other objects are read as they are.
    Thread-safe."""

    def __init__(self, store: Reads, ends: Mapping[str, int], read_bytes: int) -> None:
        """`read_bytes` is the length of the longest read of one of `ends`."""
        self._store, self._ends, count = store, ends, max(1, len(ends))
        self._size = min(_LONGEST, _ALL_BYTES // count)
        worth = self._size >= _WORTH * read_bytes
        # The first ones are of different lengths, so that later on not all objects are asked for at the same time.
        firsts = {key: self._size * (index + 1) // count for index, key in enumerate(ends)}
        self._stretches = {key: _Stretch(first) for key, first in firsts.items()} if worth else {}

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """As the store does; short reads of an object from the stretch of it that is in memory."""
        stretch = self._stretches.get(key)
        if stretch is None:
            return self._store.read_into(key, offset, view)
        with stretch.lock:
            if not stretch.holds(offset, len(view)):
                self._fill(stretch, key, offset, len(view))
            begin = offset - stretch.begin
            np.frombuffer(view, np.uint8)[:] = stretch.data[begin : begin + len(view)]
        return None

    def _fill(self, stretch: _Stretch, key: str, offset: int, wanted: int) -> None:
        size = self._size if len(stretch.memory) else stretch.first
        size = max(wanted, min(size, self._ends[key] - offset))
        if len(stretch.memory) < size:
            # All at once and used again: fresh pages cost more than what is read into them.
            stretch.memory = np.empty(max(size, self._size), np.uint8)
        stretch.data = stretch.memory[:0]  # nothing, should the read fail
        self._store.read_into(key, offset, stretch.memory[:size].data)
        stretch.begin, stretch.data = offset, stretch.memory[:size]
