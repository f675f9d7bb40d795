"""Merges a round and sums a group: the aggregator's work on model bytes.

The result depends on base, updates, weights, policy and the optimiser's state alone (ARITHMETIC.md); threads, slices
and what is found stored already only change how long it takes.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainnet.aggregator import fold, kernels, layout, optimizer_state, partials, pipeline, policy
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.errors import Cancelled, Unmergeable
from trainnet.aggregator.objects import SMALL, Header, Objects
from trainnet.aggregator.optimizer_state import StateFile
from trainnet.aggregator.output import Output
from trainnet.aggregator.pipeline import Timings
from trainnet.runtime.store import ObjectStore
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.merge_pb2 import Group, MergeWork, SumWork, Term

_AT_ONCE = 16  # small updates read side by side


class MergeSettings(Protocol):
    """How a merge may use the machine."""

    @property
    def threads(self) -> int: ...
    @property
    def slice_bytes(self) -> int: ...


@dataclass(frozen=True)
class MergeOutcome:
    """Merged weights as stored, the SHA-256 of the whole file in hex, seconds by step; and the new state of the
    server's optimiser where it has one."""

    merged: Artifact
    sha256: str
    timings: dict[str, float] = field(default_factory=dict)
    state: Artifact | None = None
    state_sha256: str = ""


@dataclass(frozen=True)
class SumOutcome:
    """A partial sum as stored."""

    key: str
    size_bytes: int


def merge(store: ObjectStore, work: MergeWork, settings: MergeSettings) -> MergeOutcome:
    """Merges a round. Raises Unmergeable, StoreError."""
    return Engine(store, Objects(store), threads=settings.threads, slice_bytes=settings.slice_bytes).merge(work)


@dataclass(frozen=True)
class _Merge:
    """A merge that was looked through: nothing about it is wrong that could be told beforehand."""

    work: MergeWork
    groups: list[Group]
    """With their terms, in order."""
    header: Header
    decoder: Decoder
    last: list[fold.Step]
    """What is done with the sum of the updates."""
    moved: frozenset[str]
    """Tensors that an optimiser moves."""
    state: StateFile | None

    @property
    def updates(self) -> list[Artifact]:
        """In the order of the arithmetic."""
        return [term.update for group in self.groups for term in fold.in_shard_order(group.terms)]

    @property
    def small(self) -> bool:
        """Whether it may be done in memory."""
        sizes = [item.size_bytes for item in (self.work.base, *self.updates)]
        return max([*sizes, self.state.size if self.state else 0]) <= SMALL


class Engine:
    """Merges and sums. Thread-safe; what it keeps in memory between calls is small and can be read again."""

    def __init__(self, store: ObjectStore, objects: Objects, *, threads: int, slice_bytes: int) -> None:
        self._store, self._objects = store, objects
        self._threads, self._slice_bytes = threads, slice_bytes

    def merge(self, work: MergeWork, cancel: threading.Event | None = None) -> MergeOutcome:
        """Writes base + step, where the step is the mean of the updates, (sum of group sums) / (sum of weights), or
        what the policy's optimiser makes of it; and its new state. Raises Cancelled, Unmergeable, StoreError."""
        found = self._look_through(work)
        return (self._merge_small if found.small else self._merge_large)(found, cancel or threading.Event())

    def _look_through(self, work: MergeWork) -> _Merge:
        optimizer = policy.optimizer_of(work.policy)
        header = self._header(work.base)
        decoder = decoder_of(work.codec, header.file)
        groups = [group for group in sorted(work.groups, key=lambda group: group.group) if group.terms]
        if len({group.group for group in groups}) != len(groups):
            raise Unmergeable("a group appears twice")
        terms = [fold.in_shard_order(group.terms) for group in groups]
        total = fold.total_weight(terms)
        for ordered in terms:
            _check_sizes(ordered, decoder)
        base = fold.AddBase(work.base.key, header.file.header_size, total)
        if optimizer is None:
            return _Merge(work, groups, header, decoder, [base], frozenset(), None)
        if not work.optimizer_key:
            raise Unmergeable("no key is given to write the optimiser's state to")
        moved = optimizer_state.moved(header.file)
        state = StateFile.of(header.file, moved, optimizer)
        if work.HasField("optimizer_state"):
            state.check(work.optimizer_state)
        advance = fold.Advance(work.optimizer_state.key, len(state.header), total, optimizer)
        return _Merge(work, groups, header, decoder, [advance, fold.after(base)], moved, state)

    def sum(self, work: SumWork, cancel: threading.Event | None = None) -> SumOutcome:
        """Writes the fp64 sum of a group's terms to its key. Raises Cancelled, Unmergeable, StoreError."""
        header = self._header(work.base)
        elements = layout.element_count(header.file.tensors)
        if not partials.exists(self._store, work.key, elements):
            terms = fold.in_shard_order(work.terms)
            fold.total_weight([terms])
            decoder = decoder_of(work.codec, header.file)
            _check_sizes(terms, decoder)
            steps = fold.sum_steps(terms, decoder)
            slices = self._slices(header)
            start, stop = partials.header(elements), cancel or threading.Event()
            self._stream(work.key, partials.size(elements), start, steps, slices, stop)
        return SumOutcome(work.key, partials.size(elements))

    def _header(self, base: Artifact) -> Header:
        header = self._objects.header(base)
        unknown = {tensor.dtype for tensor in header.file.tensors} - kernels.MERGED
        if unknown:
            raise Unmergeable(f"weights of type {', '.join(sorted(unknown))} cannot be merged")
        return header

    def _slices(
        self, header: Header, moved: frozenset[str] = frozenset(), *, element_bytes: int = 4
    ) -> list[layout.Slice]:
        """Slices whose elements fit a read buffer with `element_bytes` each."""
        return layout.cut(
            header.file.tensors,
            self._slice_bytes,
            self._slice_bytes // element_bytes,
            header_size=header.file.header_size,
            stateful=moved,
        )

    def _merge_large(self, merge: _Merge, cancel: threading.Event) -> MergeOutcome:
        work, header, groups, state = merge.work, merge.header, merge.groups, merge.state
        elements = layout.element_count(header.file.tensors)
        stored: set[int] = set()
        if len(groups) > 1:
            stored = {group.group for group in groups if partials.exists(self._store, group.partial_key, elements)}
        steps = fold.merge_steps(groups, stored, merge.last, merge.decoder)
        # A second sum takes memory, so slices get shorter; their fp64 partial sums then fill a read buffer. So may the
        # states of their elements.
        element_bytes = max(8 if len(groups) > 1 else 4, state.row_bytes if state else 0)
        slices = self._slices(header, merge.moved, element_bytes=element_bytes)
        size = header.file.header_size + _data_size(header)
        states = Output(self._store, work.optimizer_key, state.size) if state else None
        with states or nullcontext():
            if state and states:
                states.write(state.header)
            outcome = self._stream(work.key, size, header.raw, steps, slices, cancel, states)
        self._objects.keep_header(outcome.merged, header)
        return outcome

    def _stream(
        self,
        key: str,
        size: int,
        start: bytes,
        steps: list[fold.Step],
        slices: list[layout.Slice],
        cancel: threading.Event,
        states: Output | None = None,
    ) -> MergeOutcome:
        with Output(self._store, key, size) as output:
            output.write(start)
            timings = pipeline.run(
                self._store,
                steps,
                slices,
                output.write,
                threads=self._threads,
                cancel=cancel,
                write_state=states.write if states else None,
            )
            began = time.perf_counter()
            state, state_sha256 = states.finish() if states else (None, "")
            merged, sha256 = output.finish()
            timings.write += time.perf_counter() - began
        return MergeOutcome(merged, sha256, _seconds(timings), state, state_sha256)

    def _merge_small(self, merge: _Merge, cancel: threading.Event) -> MergeOutcome:
        """Whole files in memory: no request but those for what is not remembered, and a PUT for each result."""
        work, header, updates, timings = merge.work, merge.header, merge.updates, Timings()
        steps = fold.merge_steps(merge.groups, (), (), merge.decoder)
        merged, states = bytearray(self._objects.small(work.base)), self._small_states(merge)
        slices = layout.cut(header.file.tensors, SMALL, SMALL, stateful=merge.moved)
        folders = [fold.Folder(where.count, grouped=len(merge.groups) > 1) for where in slices]
        for begin in range(0, len(updates), _AT_ONCE):
            if cancel.is_set():
                raise Cancelled
            began = time.perf_counter()
            files = self._read_small(updates[begin : begin + _AT_ONCE])
            timings.read += time.perf_counter() - began
            began = time.perf_counter()
            for step, data in zip(steps[begin : begin + _AT_ONCE], files, strict=False):
                _apply(step, data, slices, folders)
            timings.fold += time.perf_counter() - began
        began = time.perf_counter()
        for step in merge.last:
            _apply(step, states if isinstance(step, fold.Advance) else merged, slices, folders)
        timings.fold += time.perf_counter() - began
        began = time.perf_counter()
        state, state_sha256 = self._put_small(work.optimizer_key, states) if merge.state else (None, "")
        found, sha256 = self._put_small(work.key, merged)
        timings.write += time.perf_counter() - began
        self._objects.keep_header(found, header)
        return MergeOutcome(found, sha256, _seconds(timings), state, state_sha256)

    def _small_states(self, merge: _Merge) -> bytearray:
        """The file that the optimiser starts from; in the first round its numbers are still to be set."""
        if merge.state is None:
            return bytearray()
        if merge.work.HasField("optimizer_state"):
            return bytearray(self._objects.small(merge.work.optimizer_state))
        return bytearray(merge.state.header.ljust(merge.state.size, b"\0"))

    def _put_small(self, key: str, data: bytearray) -> tuple[Artifact, str]:
        with Output(self._store, key, len(data)) as output:
            output.write(bytes(data))
            found, sha256 = output.finish()
        self._objects.keep(found, bytes(data))
        return found, sha256

    def _read_small(self, updates: list[Artifact]) -> list[bytes]:
        if sum(not self._objects.remembers(update) for update in updates) <= 1:
            return [self._objects.small(update) for update in updates]
        with ThreadPoolExecutor(min(8, len(updates)), thread_name_prefix="read") as pool:
            return list(pool.map(self._objects.small, updates))


def _apply(step: fold.Step, data: bytes | bytearray, slices: list[layout.Slice], folders: list[fold.Folder]) -> None:
    """One step on a whole file in memory."""
    found = np.frombuffer(data, np.uint8)
    for where, folder in zip(slices, folders, strict=True):
        begin, end = fold.place_of(step, where)
        folder.apply(step, found[begin:end], where)


def _data_size(header: Header) -> int:
    tensors = header.file.tensors
    return tensors[-1].end if tensors else 0


def _check_sizes(terms: list[Term], decoder: Decoder) -> None:
    for term in terms:
        if term.update.size_bytes < decoder.data_size + 8:
            raise Unmergeable(f"the update of shard {term.shard} is shorter than the model")


def _seconds(timings: Timings) -> dict[str, float]:
    return {"read": timings.read, "fold": timings.fold, "write": timings.write}
