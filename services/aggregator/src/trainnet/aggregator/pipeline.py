"""One pass over a model: reads run ahead, threads fold, slices are written in file order.

The threads share each slice, every one folding its stretch of it, so that memory does not grow with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from trainnet.aggregator import copies
from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.fold import (
    AddBase,
    AddTerm,
    Advance,
    Combine,
    Reader,
    Step,
    read_of,
    readers,
    reads,
    share_of,
    shares_of,
)
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.kernels import Bytes
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.readahead import ReadAhead
from trainnet.aggregator.stretches import Reads, Stretches
from trainnet.runtime.store import ObjectStore

T = TypeVar("T")

_DEPTH = 3  # one buffer is folded while two fill


@dataclass
class Timings:
    """Seconds: waiting for bytes, arithmetic, writing what is not hidden behind them."""

    read: float = 0.0
    fold: float = 0.0
    write: float = 0.0


class _Team:
    """Threads that fold stretches of the same slice."""

    def __init__(self, slices: Sequence[Slice], threads: int, *, grouped: bool, rows: int = 1) -> None:
        largest = max((where.count for where in slices), default=1)
        # A stretch of less than a block is not worth a thread's waking up.
        self._threads = max(1, min(threads, largest, rows * largest // Folder.WORTH_A_THREAD))
        stretch = -(-largest // self._threads)
        self._folders = [Folder(stretch, grouped=grouped) for _ in range(self._threads)]
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="fold") if self._threads > 1 else None

    def apply(self, step: Reader, data: Bytes, where: Slice) -> None:
        calls: list[Callable[[], None]] = []
        for folder, part in zip(self._folders, where.split(self._threads), strict=False):
            begin, end = share_of(step, where, part)
            calls.append(partial(folder.apply, step, data[begin:end], part))
        self._all(calls)

    def combine(self, step: Combine, data: Sequence[Bytes], where: Slice) -> None:
        calls: list[Callable[[], None]] = []
        for folder, part in zip(self._folders, where.split(self._threads), strict=False):
            calls.append(partial(folder.combine, step, shares_of(step.terms, data, where, part), part))
        self._all(calls)

    def rounded(self, data: Bytes, where: Slice) -> list[memoryview]:
        """What of the copy belongs to the merged bytes of a slice, stretch by stretch."""
        parts = where.split(self._threads)
        shares = [data[part.begin - where.begin : part.end - where.begin] for part in parts]
        calls = [partial(copies.rounded, share, part) for share, part in zip(shares, parts, strict=True)]
        return [found.data for found in self._all(calls)]

    def _all(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        if self._pool is None:
            return [call() for call in calls]
        return [future.result() for future in [self._pool.submit(call) for call in calls]]

    def sums(self, where: Slice) -> list[memoryview]:
        """The sums of a slice as bytes, stretch by stretch."""
        stretches = where.split(self._threads)
        pairs = zip(self._folders, stretches, strict=False)
        return [folder.total[: part.count].data.cast("B") for folder, part in pairs]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)


def run(
    store: ObjectStore,
    steps: Sequence[Step],
    slices: Sequence[Slice],
    write: Callable[[memoryview], None],
    *,
    threads: int,
    cancel: threading.Event,
    write_state: Callable[[memoryview], None] | None = None,
    write_copy: Callable[[memoryview], None] | None = None,
) -> Timings:
    """Does the steps for every slice and writes each in order: its merged bytes if the last step adds the base, else
    its sums; the new state of an optimiser goes to `write_state`, the rounded merged bytes to `write_copy`. Raises
    Cancelled between two steps, or the first error of the store."""
    timings, clock = Timings(), time.perf_counter
    combined = [step for step in steps if isinstance(step, Combine)]
    others = [step for step in steps if not isinstance(step, Combine)]
    rows = max((len(step.terms) for step in combined), default=0)
    grouped = any(getattr(step, "opens", True) is False for step in steps)
    fresh = _fresh_state(steps, slices)
    team = _Team(slices, threads, grouped=grouped, rows=max(1, rows))
    try:
        # What a rule combines is read all at once and meanwhile what it combines next, the rest one by one.
        with (
            read_ahead(store, combined, slices, depth=2 * rows, cancel=cancel) as many,
            read_ahead(store, others, slices, depth=_DEPTH, cancel=cancel) as single,
        ):
            for where in slices:
                for step in steps:
                    if isinstance(step, Combine):
                        blocks = many.take(len(step.terms))
                        began = clock()
                        team.combine(step, blocks, where)
                        timings.fold += clock() - began
                        continue
                    data = single.take(1)[0] if read_of(step, where) is not None else fresh
                    if isinstance(step, Advance):
                        data = data[: step.row_bytes * where.state_count]
                    began = clock()
                    team.apply(step, data, where)
                    timings.fold += clock() - began
                    if isinstance(step, Advance) and write_state is not None:
                        began = clock()
                        write_state(data.data)
                        timings.write += clock() - began
                began = clock()
                for written in [data.data] if isinstance(steps[-1], AddBase) else team.sums(where):
                    write(written)
                timings.write += clock() - began
                if write_copy is not None:
                    began = clock()
                    stretches = team.rounded(data, where)
                    timings.fold += clock() - began
                    began = clock()
                    for written in stretches:
                        write_copy(written)
                    timings.write += clock() - began
            timings.read = many.waited + single.waited
    finally:
        team.close()
    if cancel.is_set():
        raise Cancelled
    return timings


def read_ahead(
    store: ObjectStore, steps: Sequence[Step], slices: Sequence[Slice], *, depth: int, cancel: threading.Event
) -> ReadAhead:
    """What the steps need, slice by slice, in so many buffers."""
    largest = 0
    for step in steps:
        for reader in readers(step)[:1]:  # all of a rule's terms lie alike
            found = [read_of(reader, where) for where in slices]
            largest = max([largest, *(read.length for read in found if read is not None)])
    source = _in_stretches(store, [reader for step in steps for reader in readers(step)], slices)
    return ReadAhead(source, reads(steps, slices), buffer_bytes=largest, depth=depth, cancelled=cancel.is_set)


def _in_stretches(store: ObjectStore, steps: Sequence[Reader], slices: Sequence[Slice]) -> Reads:
    """The store, but for updates that are read a little at a time."""
    terms = [step for step in steps if isinstance(step, AddTerm)]
    if len(slices) < 2 or not terms:
        return store
    last = [read_of(term, slices[-1]) for term in terms]
    ends = {read.key: read.offset + read.length for read in last if read is not None}
    # All updates lie alike.
    lengths = [read.length for where in slices if (read := read_of(terms[0], where)) is not None]
    return Stretches(store, ends, max(lengths, default=0))


def _fresh_state(steps: Sequence[Step], slices: Sequence[Slice]) -> Bytes:
    """Room for the states of one slice where none are read, before the first round."""
    rows = max((where.state_count for where in slices), default=0)
    widths = [step.row_bytes for step in steps if isinstance(step, Advance) and not step.key]
    return np.empty(rows * max(widths, default=0), np.uint8)
