"""Merges a round and sums a group: the aggregator's work on model bytes.

The result depends on base, updates, weights, policy and the optimiser's state alone (ARITHMETIC.md); threads, slices
and what is found stored already only change how long it takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np

from trainnet.aggregator import copies, fold, layout, partials, pipeline
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.compare import compare, compare_in_memory
from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.objects import SMALL, Objects
from trainnet.aggregator.output import Output
from trainnet.aggregator.pipeline import Timings
from trainnet.aggregator.plan import Plan, check_sizes, header_of, look_through
from trainnet.aggregator.rules.gram import Gram
from trainnet.aggregator.rules.weigh import check_told, weigh
from trainnet.runtime.store import ObjectStore
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.job_pb2 import Weighing
from trainnet.v1.merge_pb2 import MergeWork, SumWork, Term

_AT_ONCE = 16  # small updates read side by side


class MergeSettings(Protocol):
    """How a merge may use the machine."""

    @property
    def threads(self) -> int: ...
    @property
    def slice_bytes(self) -> int: ...


@dataclass(frozen=True)
class MergeOutcome:
    """Merged weights as stored, the SHA-256 of the whole file in hex, seconds by step; the new state of the server's
    optimiser where it has one; and the copy that the next round's workers get where they do not get the weights."""

    merged: Artifact
    sha256: str
    timings: dict[str, float] = field(default_factory=dict)
    state: Artifact | None = None
    state_sha256: str = ""
    copy: Artifact | None = None
    copy_sha256: str = ""


@dataclass(frozen=True)
class SumOutcome:
    """A partial sum as stored."""

    key: str
    size_bytes: int


def merge(store: ObjectStore, work: MergeWork, settings: MergeSettings) -> MergeOutcome:
    """Merges a round. Raises Unmergeable, StoreError."""
    return Engine(store, Objects(store), threads=settings.threads, slice_bytes=settings.slice_bytes).merge(work)


Agree = Callable[[list[Weighing]], Sequence[Weighing]]
"""Tells the coordinator what a rule made of a round's updates, and answers what counts: the first that it was told."""


class Engine:
    """Merges and sums. Thread-safe; what it keeps in memory between calls is small and can be read again."""

    def __init__(self, store: ObjectStore, objects: Objects, *, threads: int, slice_bytes: int) -> None:
        self._store, self._objects = store, objects
        self._threads, self._slice_bytes = threads, slice_bytes

    def merge(
        self,
        work: MergeWork,
        cancel: threading.Event | None = None,
        *,
        round_name: str = "",
        agree: Agree = lambda found: found,
    ) -> MergeOutcome:
        """Writes base + step, where the step is what the policy's rule makes of the updates, or what its optimiser
        makes of that; its new state; and the copy that is asked for. What each update counts for with a robust rule is
        agreed on first: its last bits depend on the machine, and two aggregators must write the same bytes.

        Raises Cancelled, Unmergeable, StoreError.
        """
        plan, stop = look_through(work, self._objects), cancel or threading.Event()
        weighings, timings = self.weighings(plan, stop, round_name, agree)
        outcome = (self._merge_small if plan.small else self._merge_large)(plan, weighings, stop)
        return replace(outcome, timings={**outcome.timings, **timings})

    def weighings(
        self, plan: Plan, cancel: threading.Event, round_name: str, agree: Agree
    ) -> tuple[list[Weighing], dict[str, float]]:
        """What counts of each update, by shard, and the seconds that it took; nothing without a rule. Raises Cancelled,
        Unmergeable, StoreError."""
        rule, terms = plan.rule, plan.terms
        if rule is None:
            return [], {}
        shards = [term.shard for term in terms]
        began = time.perf_counter()
        told: Sequence[Weighing] = plan.work.weighings
        if not told:
            weights = {term.shard: term.weight for term in terms}
            told = agree(weigh(rule, round_name, weights, partial(self._compare, plan, cancel)))
        return check_told(rule, shards, told), {"weigh": time.perf_counter() - began}

    def _compare(self, plan: Plan, cancel: threading.Event, sets: list[list[int]]) -> list[Gram]:
        """The products of the updates of each set. An update alone whose check told its length is not read again."""
        terms = plan.terms
        steps = [step for step in fold.sum_steps(terms, plan.decoder) if isinstance(step, fold.AddTerm)]
        told = [_told(terms[members[0]]) if len(members) == 1 else None for members in sets]
        unknown = [members for members, products in zip(sets, told, strict=True) if products is None]
        if plan.small:
            places = [place for members in unknown for place in members]
            read = self._read_small([terms[place].update for place in places])
            files = {place: np.frombuffer(data, np.uint8) for place, data in zip(places, read, strict=True)}
            slices = layout.cut(plan.header.file.tensors, SMALL, SMALL)
            found = (
                compare_in_memory([steps[i] for i in members], [files[i] for i in members], slices)
                for members in unknown
            )
        else:
            found = (
                compare(
                    self._store,
                    [steps[i] for i in members],
                    plan.compared_slices(len(members), self._slice_bytes),
                    threads=self._threads,
                    cancel=cancel,
                )
                for members in unknown
            )
        return [next(found) if products is None else products for products in told]

    def sum(self, work: SumWork, cancel: threading.Event | None = None) -> SumOutcome:
        """Writes the fp64 sum of a group's terms to its key. Raises Cancelled, Unmergeable, StoreError."""
        header = header_of(work.base, self._objects)
        elements = layout.element_count(header.file.tensors)
        if not partials.exists(self._store, work.key, elements):
            terms = fold.in_shard_order(work.terms)
            fold.total_weight([terms])
            decoder = decoder_of(work.codec, header.file)
            check_sizes(terms, decoder)
            steps = fold.sum_steps(terms, decoder)
            file, most = header.file, self._slice_bytes
            slices = layout.cut(file.tensors, most, most // 4, header_size=file.header_size)
            start, stop = partials.header(elements), cancel or threading.Event()
            self._stream(work.key, partials.size(elements), start, steps, slices, stop)
        return SumOutcome(work.key, partials.size(elements))

    def _merge_large(self, plan: Plan, weighings: Sequence[Weighing], cancel: threading.Event) -> MergeOutcome:
        work, header, groups, state = plan.work, plan.header, plan.groups, plan.state
        elements = layout.element_count(header.file.tensors)
        stored: set[int] = set()
        if len(groups) > 1:
            stored = {group.group for group in groups if partials.exists(self._store, group.partial_key, elements)}
        steps = plan.steps(stored, weighings)
        slices = plan.slices(steps, self._slice_bytes)
        size = header.file.header_size + plan.data_size
        with ExitStack() as stack:
            states = copy = None
            if state is not None:
                states = stack.enter_context(Output(self._store, work.optimizer_key, state.size))
                states.write(state.header)
            if plan.copy is not None:
                copy = stack.enter_context(Output(self._store, work.copy_key, plan.copy.size))
                copy.write(plan.copy.header)
            outcome = self._stream(work.key, size, header.raw, steps, slices, cancel, states, copy)
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
        copy: Output | None = None,
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
                write_copy=copy.write if copy else None,
            )
            began = time.perf_counter()
            state, state_sha256 = states.finish() if states else (None, "")
            copied, copy_sha256 = copy.finish() if copy else (None, "")
            merged, sha256 = output.finish()
            timings.write += time.perf_counter() - began
        return MergeOutcome(merged, sha256, _seconds(timings), state, state_sha256, copied, copy_sha256)

    def _merge_small(self, plan: Plan, weighings: Sequence[Weighing], cancel: threading.Event) -> MergeOutcome:
        """Whole files in memory: no request but those for what is not remembered, and a PUT for each result."""
        work, header, timings = plan.work, plan.header, Timings()
        updates = {term.update.key: term.update for term in plan.terms}
        steps = plan.steps((), weighings)[: -len(plan.last)]
        merged, states = bytearray(self._objects.small(work.base)), self._small_states(plan)
        slices = layout.cut(header.file.tensors, SMALL, SMALL, stateful=plan.moved)
        folders = [Folder(where.count, grouped=len(plan.groups) > 1) for where in slices]
        for begin in range(0, len(steps), _AT_ONCE):
            if cancel.is_set():
                raise Cancelled
            chunk = steps[begin : begin + _AT_ONCE]
            began = time.perf_counter()
            needed = [reader.key for step in chunk for reader in fold.readers(step) if reader.key]
            files = iter(self._read_small([updates[key] for key in needed]))
            timings.read += time.perf_counter() - began
            began = time.perf_counter()
            for step in chunk:
                _apply(step, [next(files) for reader in fold.readers(step) if reader.key], slices, folders)
            timings.fold += time.perf_counter() - began
        began = time.perf_counter()
        for step in plan.last:
            _apply(step, [states if isinstance(step, fold.Advance) else merged], slices, folders)
        copy = b""
        if plan.copy is not None:
            copy = copies.rounded_whole(np.frombuffer(merged, np.uint8), slices, header.file.header_size, plan.copy)
        timings.fold += time.perf_counter() - began
        began = time.perf_counter()
        state, state_sha256 = self._put_small(work.optimizer_key, bytes(states)) if plan.state else (None, "")
        copied, copy_sha256 = self._put_small(work.copy_key, copy, keep=False) if plan.copy else (None, "")
        found, sha256 = self._put_small(work.key, bytes(merged))
        timings.write += time.perf_counter() - began
        self._objects.keep_header(found, header)
        return MergeOutcome(found, sha256, _seconds(timings), state, state_sha256, copied, copy_sha256)

    def _small_states(self, plan: Plan) -> bytearray:
        """The file that the optimiser starts from; in the first round its numbers are still to be set."""
        if plan.state is None:
            return bytearray()
        if plan.work.HasField("optimizer_state"):
            return bytearray(self._objects.small(plan.work.optimizer_state))
        return bytearray(plan.state.header.ljust(plan.state.size, b"\0"))

    def _put_small(self, key: str, data: bytes, *, keep: bool = True) -> tuple[Artifact, str]:
        """Keeps it in memory too, but for what nobody here reads again."""
        with Output(self._store, key, len(data)) as output:
            output.write(data)
            found, sha256 = output.finish()
        if keep:
            self._objects.keep(found, data)
        return found, sha256

    def _read_small(self, updates: list[Artifact]) -> list[bytes]:
        if sum(not self._objects.remembers(update) for update in updates) <= 1:
            return [self._objects.small(update) for update in updates]
        with ThreadPoolExecutor(min(8, len(updates)), thread_name_prefix="read") as pool:
            return list(pool.map(self._objects.small, updates))


def _apply(
    step: fold.Step, data: Sequence[bytes | bytearray], slices: list[layout.Slice], folders: list[Folder]
) -> None:
    """One step on whole files in memory."""
    files = [np.frombuffer(item, np.uint8) for item in data]
    for where, folder in zip(slices, folders, strict=True):
        places = [fold.place_of(reader, where) for reader in fold.readers(step)]
        found = [file[begin:end] for file, (begin, end) in zip(files, places, strict=False)]
        if isinstance(step, fold.Combine):
            folder.combine(step, found, where)
        else:
            folder.apply(step, found[0] if found else _NOTHING, where)


def _told(term: Term) -> Gram | None:
    """The product of an update with itself, where its check found its length."""
    return np.array([[term.norm * term.norm]]) if term.HasField("norm") else None


_NOTHING = np.zeros(0, np.uint8)


def _seconds(timings: Timings) -> dict[str, float]:
    return {"read": timings.read, "fold": timings.fold, "write": timings.write}
