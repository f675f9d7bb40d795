"""Merges a round and sums a group: the aggregator's work on model bytes.

The result depends on base, updates and weights alone (ARITHMETIC.md); threads, slices and what is found stored already
only change how long it takes.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainnet.aggregator import fold, kernels, layout, partials, pipeline
from trainnet.aggregator.errors import Cancelled, Unmergeable
from trainnet.aggregator.kernels import Bytes
from trainnet.aggregator.objects import SMALL, Header, Objects
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
    """Merged weights as stored, the SHA-256 of the whole file in hex, and seconds by step."""

    merged: Artifact
    sha256: str
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SumOutcome:
    """A partial sum as stored."""

    key: str
    size_bytes: int


def merge(store: ObjectStore, work: MergeWork, settings: MergeSettings) -> MergeOutcome:
    """Merges a round. Raises Unmergeable, StoreError."""
    return Engine(store, Objects(store), threads=settings.threads, slice_bytes=settings.slice_bytes).merge(work)


class Engine:
    """Merges and sums. Thread-safe; what it keeps in memory between calls is small and can be read again."""

    def __init__(self, store: ObjectStore, objects: Objects, *, threads: int, slice_bytes: int) -> None:
        self._store, self._objects = store, objects
        self._threads, self._slice_bytes = threads, slice_bytes

    def merge(self, work: MergeWork, cancel: threading.Event | None = None) -> MergeOutcome:
        """Writes base + (sum of group sums) / (sum of weights). Raises Cancelled, Unmergeable, StoreError."""
        cancel = cancel or threading.Event()
        header = self._header(work.base)
        groups = [group for group in sorted(work.groups, key=lambda group: group.group) if group.terms]
        if len({group.group for group in groups}) != len(groups):
            raise Unmergeable("a group appears twice")
        terms = [fold.in_shard_order(group.terms) for group in groups]
        total = fold.total_weight(terms)
        size = _data_size(header)
        for ordered in terms:
            _check_sizes(ordered, size)
        base = fold.AddBase(work.base.key, header.file.header_size, total)
        updates = [term.update for ordered in terms for term in ordered]
        if all(item.size_bytes <= SMALL for item in (work.base, *updates)):
            return self._merge_small(work, groups, base, header, cancel)
        return self._merge_large(work, groups, base, header, cancel)

    def sum(self, work: SumWork, cancel: threading.Event | None = None) -> SumOutcome:
        """Writes the fp64 sum of a group's terms to its key. Raises Cancelled, Unmergeable, StoreError."""
        header = self._header(work.base)
        elements = layout.element_count(header.file.tensors)
        if not partials.exists(self._store, work.key, elements):
            terms = fold.in_shard_order(work.terms)
            fold.total_weight([terms])
            _check_sizes(terms, _data_size(header))
            steps = fold.sum_steps(terms, _data_size(header))
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

    def _slices(self, header: Header, *, grouped: bool = False) -> list[layout.Slice]:
        # A second sum takes memory, so slices get shorter; their fp64 partial sums then fill a read buffer.
        elements = self._slice_bytes // (8 if grouped else 4)
        return layout.cut(header.file.tensors, self._slice_bytes, elements, header_size=header.file.header_size)

    def _merge_large(
        self, work: MergeWork, groups: list[Group], base: fold.AddBase, header: Header, cancel: threading.Event
    ) -> MergeOutcome:
        elements = layout.element_count(header.file.tensors)
        stored: set[int] = set()
        if len(groups) > 1:
            stored = {group.group for group in groups if partials.exists(self._store, group.partial_key, elements)}
        steps = fold.merge_steps(groups, stored, base, _data_size(header))
        slices = self._slices(header, grouped=len(groups) > 1)
        size = header.file.header_size + _data_size(header)
        outcome = self._stream(work.key, size, header.raw, steps, slices, cancel)
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
    ) -> MergeOutcome:
        output = Output(self._store, key, size)
        try:
            output.write(start)
            timings = pipeline.run(self._store, steps, slices, output.write, threads=self._threads, cancel=cancel)
            began = time.perf_counter()
            merged, sha256 = output.finish()
            timings.write += time.perf_counter() - began
        finally:
            output.abort()
        return _outcome(merged, sha256, timings)

    def _merge_small(
        self, work: MergeWork, groups: list[Group], base: fold.AddBase, header: Header, cancel: threading.Event
    ) -> MergeOutcome:
        """Whole files in memory: no request but those for what is not remembered, and one PUT."""
        timings = Timings()
        steps = fold.merge_steps(groups, (), base, _data_size(header))
        updates = [term.update for group in groups for term in fold.in_shard_order(group.terms)]
        merged = bytearray(self._objects.small(work.base))
        slices = layout.cut(header.file.tensors, SMALL, SMALL)
        folders = [fold.Folder(where.count, grouped=len(groups) > 1) for where in slices]
        for begin in range(0, len(updates), _AT_ONCE):
            if cancel.is_set():
                raise Cancelled
            began = time.perf_counter()
            files = self._read_small(updates[begin : begin + _AT_ONCE])
            timings.read += time.perf_counter() - began
            began = time.perf_counter()
            for step, data in zip(steps[begin : begin + _AT_ONCE], files, strict=False):
                _apply(step, np.frombuffer(data, np.uint8), slices, folders)
            timings.fold += time.perf_counter() - began
        began = time.perf_counter()
        _apply(steps[-1], np.frombuffer(merged, np.uint8), slices, folders)
        timings.fold += time.perf_counter() - began
        began = time.perf_counter()
        output = Output(self._store, work.key, len(merged))
        try:
            output.write(bytes(merged))
            found, sha256 = output.finish()
        finally:
            output.abort()
        timings.write += time.perf_counter() - began
        self._objects.keep(found, bytes(merged))
        self._objects.keep_header(found, header)
        return _outcome(found, sha256, timings)

    def _read_small(self, updates: list[Artifact]) -> list[bytes]:
        if sum(not self._objects.remembers(update) for update in updates) <= 1:
            return [self._objects.small(update) for update in updates]
        with ThreadPoolExecutor(min(8, len(updates)), thread_name_prefix="read") as pool:
            return list(pool.map(self._objects.small, updates))


def _apply(step: fold.Step, data: Bytes, slices: list[layout.Slice], folders: list[fold.Folder]) -> None:
    """One step on a whole file in memory."""
    begin = step.data_begin if not isinstance(step, fold.AddPartial) else 0
    for where, folder in zip(slices, folders, strict=True):
        folder.apply(step, data[begin + where.begin : begin + where.end], where)


def _data_size(header: Header) -> int:
    tensors = header.file.tensors
    return tensors[-1].end if tensors else 0


def _check_sizes(terms: list[Term], data_size: int) -> None:
    for term in terms:
        if term.update.size_bytes < data_size + 8:
            raise Unmergeable(f"the update of shard {term.shard} is shorter than the model")


def _outcome(merged: Artifact, sha256: str, timings: Timings) -> MergeOutcome:
    return MergeOutcome(merged, sha256, {"read": timings.read, "fold": timings.fold, "write": timings.write})
