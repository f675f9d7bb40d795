"""A merge looked through before anything large is read: what its steps will be."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from trainnet.aggregator import fold, kernels, layout, optimizer_state, policy
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.copies import CopyFile
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.objects import SMALL, Header, Objects
from trainnet.aggregator.optimizer_state import StateFile
from trainnet.aggregator.rules.rule import Rule, rule_of
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.job_pb2 import Weighing
from trainnet.v1.merge_pb2 import Group, MergeWork, Term

_STACK = 32 * 1024 * 1024
"""Bytes of small updates that a rule may have in memory side by side."""

_STACKED = 2
"""Slices that the updates have together where they are side by side; as many are read ahead."""

_LONGER = 2
"""Slices are so many times as long at most where updates are shorter than the model: a store answers long reads with
less work, but sums take memory."""


@dataclass(frozen=True)
class Plan:
    """A merge of which nothing is wrong that could be told beforehand."""

    work: MergeWork
    groups: list[Group]
    """With their terms, in order."""
    header: Header
    decoder: Decoder
    rule: Rule | None
    """None for the plain mean."""
    last: list[fold.Step]
    """What is done with the sum of the updates."""
    moved: frozenset[str]
    """Tensors that an optimiser moves and the copy rounds; none where there is neither."""
    state: StateFile | None
    copy: CopyFile | None

    @property
    def terms(self) -> list[Term]:
        """In the order of the arithmetic."""
        return [term for group in self.groups for term in fold.in_shard_order(group.terms)]

    @property
    def small(self) -> bool:
        """Whether it may be done in memory."""
        updates = [term.update.size_bytes for term in self.terms]
        largest = max([self.work.base.size_bytes, *updates, self.state.size if self.state else 0])
        return largest <= SMALL and (self.rule is None or sum(updates) <= _STACK)

    @property
    def data_size(self) -> int:
        """Bytes of the merged weights behind their header."""
        return layout.data_size(self.header.file.tensors)

    def steps(self, stored: Container[int], weighings: Sequence[Weighing]) -> list[fold.Step]:
        """All of them, with partial sums of the groups in `stored`, or with a rule by what it made of the updates."""
        if self.rule is None:
            return fold.merge_steps(self.groups, stored, self.last, self.decoder)
        return fold.weighed_steps(self.terms, weighings, self.rule, self.last, self.decoder)

    def slices(self, steps: Sequence[fold.Step], slice_bytes: int) -> list[layout.Slice]:
        """What the steps are done for one by one; each has at most `slice_bytes`."""
        # A second sum takes memory, so slices get shorter; their fp64 partial sums then fill a read buffer. So may the
        # states of their elements.
        element_bytes = max(8 if len(self.groups) > 1 else 4, self.state.row_bytes if self.state else 0)
        combined = max((len(step.terms) for step in steps if isinstance(step, fold.Combine)), default=0)
        most = self._side_by_side(combined, slice_bytes) if combined else slice_bytes * min(_LONGER, self._shorter)
        return self._cut(most, most // element_bytes, self.moved)

    def compared_slices(self, updates: int, slice_bytes: int) -> list[layout.Slice]:
        """Those of a pass that compares so many updates."""
        most = self._side_by_side(updates, slice_bytes)
        return self._cut(most, most // 4, frozenset())

    def _side_by_side(self, updates: int, slice_bytes: int) -> int:
        """Bytes of a slice of which that many updates are in memory at once, in their codec."""
        return min(slice_bytes, self._shorter * layout.round_down(_STACKED * slice_bytes // updates))

    @property
    def _shorter(self) -> int:
        """So many times the bytes of an update are the model's."""
        return max(1, self.data_size // max(1, self.decoder.data_size))

    def _cut(self, most_bytes: int, most_elements: int, moved: frozenset[str]) -> list[layout.Slice]:
        file = self.header.file
        return layout.cut(file.tensors, most_bytes, most_elements, header_size=file.header_size, stateful=moved)


def look_through(work: MergeWork, objects: Objects) -> Plan:
    """Raises Unmergeable, StoreError, and SafetensorsError if the base cannot be read."""
    optimizer, rule = policy.optimizer_of(work.policy), rule_of(work.policy)
    header = header_of(work.base, objects)
    decoder = decoder_of(work.codec, header.file)
    groups = [group for group in sorted(work.groups, key=lambda group: group.group) if group.terms]
    if len({group.group for group in groups}) != len(groups):
        raise Unmergeable("a group appears twice")
    if rule is not None:
        # A rule sees the round's updates side by side, however they came.
        groups = [Group(terms=[term for group in groups for term in group.terms])]
    terms = [fold.in_shard_order(group.terms) for group in groups]
    total = _divisor(rule, terms)
    for ordered in terms:
        check_sizes(ordered, decoder)
    base = fold.AddBase(work.base.key, header.file.header_size, total)
    moved = optimizer_state.moved(header.file) if optimizer is not None or work.copy_key else frozenset()
    copy = CopyFile.of(header.file, moved) if work.copy_key else None
    if optimizer is None:
        return Plan(work, groups, header, decoder, rule, [base], moved, None, copy)
    if not work.optimizer_key:
        raise Unmergeable("no key is given to write the optimiser's state to")
    state = StateFile.of(header.file, moved, optimizer)
    if work.HasField("optimizer_state"):
        state.check(work.optimizer_state)
    advance = fold.Advance(work.optimizer_state.key, len(state.header), total, optimizer)
    return Plan(work, groups, header, decoder, rule, [advance, fold.after(base)], moved, state, copy)


def _divisor(rule: Rule | None, terms: list[list[Term]]) -> float | None:
    """What the sum is divided by; None for a rule, whose factors have all in them."""
    if rule is not None:
        rule.check(sum(len(ordered) for ordered in terms))
        if not rule.by_weight:
            return None
    total = fold.total_weight(terms)
    return total if rule is None else None


def header_of(base: Artifact, objects: Objects) -> Header:
    """Raises Unmergeable for weights that no update can be added to."""
    header = objects.header(base)
    unknown = {tensor.dtype for tensor in header.file.tensors} - kernels.MERGED
    if unknown:
        raise Unmergeable(f"weights of type {', '.join(sorted(unknown))} cannot be merged")
    return header


def check_sizes(terms: list[Term], decoder: Decoder) -> None:
    """Raises Unmergeable for an update that cannot hold what its check saw."""
    for term in terms:
        if term.update.size_bytes < decoder.data_size + 8:
            raise Unmergeable(f"the update of shard {term.shard} is shorter than the model")
