"""Reads that run ahead of the arithmetic, through a fixed number of buffers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.kernels import Bytes
from trainnet.runtime.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Read:
    """`length` bytes of an object from `offset`."""

    key: str
    offset: int
    length: int


class ReadAhead:
    """Yields the bytes of each read in order, while a thread reads the next ones.

    What is yielded lies in a buffer that is used again: it is the consumer's until it asks for the next. An error of
    the store comes out where its bytes would have. Close it (it is a context manager); that waits for a read under way.
    """

    def __init__(
        self, store: ObjectStore, reads: Iterable[Read], *, buffer_bytes: int, depth: int, cancelled: Callable[[], bool]
    ) -> None:
        self.waited = 0.0
        """Seconds the consumer waited for bytes."""
        self._store, self._reads, self._cancelled = store, reads, cancelled
        self._free: queue.SimpleQueue[Bytes | None] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[Bytes, int] | Exception | None] = queue.SimpleQueue()
        self._buffer_bytes, self._to_make = buffer_bytes, depth
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def _buffer(self) -> Bytes | None:
        """Buffers are made one by one, so that a short run does not pay for all."""
        if self._to_make:
            self._to_make -= 1
            return np.empty(self._buffer_bytes, np.uint8)
        return self._free.get()

    def _run(self) -> None:
        try:
            for read in self._reads:
                buffer = self._buffer()
                if self._closed or buffer is None:
                    return
                if self._cancelled():
                    raise Cancelled
                self._store.read_into(read.key, read.offset, buffer[: read.length].data)
                self._full.put((buffer, read.length))
            self._full.put(None)
        except Exception as error:  # noqa: BLE001  # it is raised again where the bytes are awaited
            self._full.put(error)

    def __iter__(self) -> Iterator[Bytes]:
        while True:
            began = time.perf_counter()
            item = self._full.get()
            self.waited += time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            buffer, length = item
            yield buffer[:length]
            self._free.put(buffer)

    def close(self) -> None:
        self._closed = True
        self._free.put(None)
        self._thread.join()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
