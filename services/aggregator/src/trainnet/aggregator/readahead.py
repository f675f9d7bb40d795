"""Reads that run ahead of the arithmetic, through a fixed number of buffers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.kernels import Bytes
from trainnet.aggregator.stretches import Reads


@dataclass(frozen=True, slots=True)
class Read:
    """`length` bytes of an object from `offset`."""

    key: str
    offset: int
    length: int


_MOST_READERS = 4


class ReadAhead:
    """Gives the bytes of each read in order, while threads read the next ones.

    What it gives lies in some of `depth` buffers that are used again: it is the consumer's until it asks for more. An
    error of the store comes out where its bytes would have. Close it (it is a context manager); that waits for the
    reads under way.
    """

    def __init__(
        self,
        store: Reads,
        reads: Iterable[Read],
        *,
        buffer_bytes: int,
        depth: int,
        cancelled: Callable[[], bool],
    ) -> None:
        self.waited = 0.0
        """Seconds the consumer waited for bytes."""
        self._store, self._reads, self._cancelled = store, iter(reads), cancelled
        self._buffer_bytes, self._to_make = buffer_bytes, depth
        self._free: list[Bytes] = []
        self._taken: list[Bytes] = []
        self._under_way: deque[tuple[Future[None], Bytes, int]] = deque()
        readers = min(max(1, depth - 1), _MOST_READERS)
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="read-ahead")

    def _submit(self) -> None:
        """Starts reads while there are buffers. They are made one by one: a short run does not pay for all."""
        while self._free or self._to_make:
            read = next(self._reads, None)
            if read is None:
                return
            if self._free:
                buffer = self._free.pop()
            else:
                buffer = np.empty(self._buffer_bytes, np.uint8)
                self._to_make -= 1
            view = buffer[: read.length].data
            future = self._pool.submit(self._store.read_into, read.key, read.offset, view)
            self._under_way.append((future, buffer, read.length))

    def take(self, count: int) -> list[Bytes]:
        """The bytes of the next `count` reads, at most `depth`; fewer at the end. Raises Cancelled."""
        self._free += self._taken
        self._taken = []
        self._submit()
        found: list[Bytes] = []
        while len(found) < count and self._under_way:
            if self._cancelled():
                raise Cancelled
            future, buffer, length = self._under_way.popleft()
            self._taken.append(buffer)
            began = time.perf_counter()
            future.result()
            self.waited += time.perf_counter() - began
            found.append(buffer[:length])
        return found

    def __iter__(self) -> Iterator[Bytes]:
        while found := self.take(1):
            yield found[0]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
