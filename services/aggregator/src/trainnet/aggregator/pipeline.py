"""Slices through threads: each thread reads ahead, folds, and hands its slice over in file order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.fold import AddBase, Folder, Step, reads
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.readahead import ReadAhead
from trainnet.runtime.store import ObjectStore

_DEPTH = 2  # read buffers of a thread: one is folded while the other fills


@dataclass
class Timings:
    """Seconds, mean over the threads: waiting for bytes, arithmetic, handing over."""

    read: float = 0.0
    fold: float = 0.0
    write: float = 0.0


class _Turns:
    """Lets slices through in order. `stop` wakes everybody with Cancelled."""

    def __init__(self, cancel: threading.Event) -> None:
        self._cancel = cancel
        self._changed = threading.Condition()
        self._next = 0
        self._stopped = False

    def stopped(self) -> bool:
        return self._stopped or self._cancel.is_set()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self, index: int) -> None:
        with self._changed:
            # The one whose turn it is sees a cancelled claim between slices, and stops the rest.
            self._changed.wait_for(lambda: self._next == index or self._stopped)
        if self.stopped():
            raise Cancelled

    def done(self) -> None:
        with self._changed:
            self._next += 1
            self._changed.notify_all()


class Pipeline:
    """One pass over a model with a fixed number of buffers, whatever its size and the number of updates."""

    def __init__(
        self,
        store: ObjectStore,
        steps: Sequence[Step],
        slices: Sequence[Slice],
        write: Callable[[memoryview], None],
        *,
        threads: int,
        cancel: threading.Event,
    ) -> None:
        self._store, self._steps, self._slices, self._write = store, steps, slices, write
        self._threads = max(1, min(threads, len(slices)))
        self._turns = _Turns(cancel)
        self._buffer_bytes = max((max(part.length for part in reads(steps, [where])) for where in slices), default=0)
        self._max_elements = max((where.count for where in slices), default=0)
        self._grouped = any(getattr(step, "opens", True) is False for step in steps)
        self._timings = [Timings() for _ in range(self._threads)]

    def run(self) -> Timings:
        """Writes every slice in order. Raises Cancelled, or the first error of the store."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="fold") as pool:
            futures = [pool.submit(self._work, number) for number in range(self._threads)]
            errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
            raise error
        rows = zip(*((timing.read, timing.fold, timing.write) for timing in self._timings), strict=True)
        return Timings(*(sum(row) / self._threads for row in rows))

    def _work(self, number: int) -> None:
        mine = range(number, len(self._slices), self._threads)
        try:
            with ReadAhead(
                self._store,
                reads(self._steps, (self._slices[index] for index in mine)),
                buffer_bytes=self._buffer_bytes,
                depth=_DEPTH,
                cancelled=self._turns.stopped,
            ) as ahead:
                self._fold(mine, ahead, self._timings[number])
        except BaseException:
            self._turns.stop()
            raise

    def _fold(self, mine: range, ahead: ReadAhead, timings: Timings) -> None:
        folder = Folder(self._max_elements, grouped=self._grouped)
        blocks = iter(ahead)
        clock = time.perf_counter
        for index in mine:
            where = self._slices[index]
            for step in self._steps:
                data = next(blocks)
                began = clock()
                folder.apply(step, data, where)
                timings.fold += clock() - began
            began = clock()
            self._turns.wait(index)
            merged = isinstance(self._steps[-1], AddBase)
            self._write((data if merged else folder.total[: where.count]).data.cast("B"))
            self._turns.done()
            timings.write += clock() - began
        timings.read = ahead.waited
