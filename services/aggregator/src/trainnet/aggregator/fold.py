"""The order of a merge: which bytes are read for a slice, and what is done with them.

One plan serves every slice. Terms come group by group and in shard order within a group; a group's sum is finished
before it joins the total; the base comes last. A robust rule is one sum whose factors it found out beforehand, or takes
the middle of all rows at once.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from trainnet.aggregator import partials
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.codecs.records import CodecError, Sparse
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.kernels import Acc, Bytes, Scratch
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.optimizers import Optimizer
from trainnet.aggregator.readahead import Read
from trainnet.aggregator.rules.rule import Rule
from trainnet.v1.job_pb2 import Weighing
from trainnet.v1.merge_pb2 import Group, Term


@dataclass(frozen=True, slots=True)
class AddTerm:
    """Add weight x delta to the sum of a group."""

    key: str
    data_begin: int
    decoder: Decoder
    weight: float
    first: bool
    """Of its group."""
    last: bool
    """Of its group."""
    opens: bool
    """Its group is the first: it sums straight into the total."""

    def add_to(self, acc: Acc, data: Bytes, where: Slice, scratch: Scratch) -> None:
        """Raises Unmergeable for bytes that no check has accepted."""
        try:
            self.decoder.add(acc, data, where, self.weight, first=self.first, scratch=scratch)
        except CodecError as error:
            raise Unmergeable(f"{self.key} is damaged: {error}") from None

    def sparse(self, data: Bytes, where: Slice) -> Sparse | None:
        """weight x delta, where it has few numbers; see Decoder. Raises Unmergeable."""
        try:
            found = self.decoder.sparse(data, where)
        except CodecError as error:
            raise Unmergeable(f"{self.key} is damaged: {error}") from None
        return found and (found[0], found[1] * self.weight)


@dataclass(frozen=True, slots=True)
class AddPartial:
    """Add a stored group sum to the total."""

    key: str
    opens: bool


@dataclass(frozen=True, slots=True)
class Combine:
    """Make the total of the middle of rows, weight for weight."""

    rows: tuple[tuple[AddTerm, ...], ...]
    """What each row is the sum of; nothing is a row of zeros."""
    drop: int | None
    """Rows left out at both ends; None for the median."""

    @property
    def terms(self) -> list[AddTerm]:
        """In the order in which they are read."""
        return [term for members in self.rows for term in members]


@dataclass(frozen=True, slots=True)
class Clear:
    """Make the total zero: no update counts."""

    key: str = ""
    data_begin: int = 0


@dataclass(frozen=True, slots=True)
class Advance:
    """Divide by the weights, and make the optimiser's steps of the means; its state moves on."""

    key: str
    """Of the state after the round before; empty in the first round."""
    data_begin: int
    total_weight: float | None
    """None after factors that need no division."""
    optimizer: Optimizer

    @property
    def row_bytes(self) -> int:
        return 4 * len(self.optimizer.slots)


@dataclass(frozen=True, slots=True)
class AddBase:
    """Divide by the weights, add the base, round."""

    key: str
    data_begin: int
    total_weight: float | None
    """None after Advance, which has divided, and after factors that need no division."""


Reader = AddTerm | AddPartial | Clear | Advance | AddBase
"""A step that reads one stretch of one object at most."""

Step = Reader | Combine


def total_weight(groups: Iterable[Iterable[Term]]) -> float:
    """The sum of all weights in the order of the terms, in fp64. Raises Unmergeable."""
    total = 0.0
    for terms in groups:
        for term in terms:
            if not math.isfinite(term.weight) or term.weight < 0:
                raise Unmergeable(f"shard {term.shard} has the weight {term.weight}")
            total += term.weight
    if not math.isfinite(total) or total <= 0:
        raise Unmergeable(f"the weights sum to {total}")
    return total


def in_shard_order(terms: Iterable[Term]) -> list[Term]:
    """Raises Unmergeable when a shard comes twice."""
    ordered = sorted(terms, key=lambda term: term.shard)
    if len({term.shard for term in ordered}) != len(ordered):
        raise Unmergeable("a shard appears twice")
    return ordered


def sum_steps(terms: Sequence[Term], decoder: Decoder, *, opens: bool = True) -> list[Step]:
    """Sums one group. An update's tensors end where its file ends, which its check made sure of."""
    last, size = len(terms) - 1, decoder.data_size
    return [
        AddTerm(term.update.key, term.update.size_bytes - size, decoder, term.weight, i == 0, i == last, opens)
        for i, term in enumerate(terms)
    ]


def merge_steps(groups: Sequence[Group], stored: Container[int], last: Sequence[Step], decoder: Decoder) -> list[Step]:
    """Combines groups in order, those in `stored` from their partial sums; then what is done with their sum."""
    steps: list[Step] = []
    for group in groups:
        if group.group in stored:
            steps.append(AddPartial(group.partial_key, opens=not steps))
        else:
            steps += sum_steps(in_shard_order(group.terms), decoder, opens=not steps)
    return [*steps, *last]


def weighed_steps(
    terms: Sequence[Term], weighings: Sequence[Weighing], rule: Rule, last: Sequence[Step], decoder: Decoder
) -> list[Step]:
    """What a rule makes of all terms, from the weighings that were committed; then what is done with it. A term that
    counts for nothing is not read. All by rising shard."""
    rows: dict[int, list[AddTerm]] = {}
    for term, weighing in zip(terms, weighings, strict=True):
        members = rows.setdefault(weighing.bucket if rule.by_coordinate else 0, [])
        if weighing.factor:
            begin = term.update.size_bytes - decoder.data_size
            members.append(AddTerm(term.update.key, begin, decoder, weighing.factor, not members, False, True))
    steps: list[Step] = []
    if rule.by_coordinate:
        steps.append(Combine(tuple(tuple(rows[bucket]) for bucket in sorted(rows)), rule.drop))
    else:
        steps += rows[0] or [Clear()]
    return [*steps, *last]


def after(base: AddBase) -> AddBase:
    """The last step where an optimiser comes before it."""
    return replace(base, total_weight=None)


def readers(step: Step) -> Sequence[Reader]:
    """What a step reads, one after the other."""
    return step.terms if isinstance(step, Combine) else (step,)


def place_of(step: Reader, where: Slice) -> tuple[int, int]:
    """(begin, end) of what a step needs of a slice within its object."""
    match step:
        case AddTerm():
            begin, end = step.decoder.place(where)
            return step.data_begin + begin, step.data_begin + end
        case AddPartial():
            begin, length = partials.HEADER_SIZE + 8 * where.first, 8 * where.count
        case Advance():
            begin, length = step.data_begin + step.row_bytes * where.state_first, step.row_bytes * where.state_count
        case _:
            begin, length = step.data_begin + where.begin, where.nbytes
    return begin, begin + length


def read_of(step: Reader, where: Slice) -> Read | None:
    """The read of what a step needs of a slice; None where there is nothing to read."""
    begin, end = place_of(step, where)
    return Read(step.key, begin, end - begin) if step.key and end > begin else None


def reads(steps: Sequence[Step], slices: Iterable[Slice]) -> Iterator[Read]:
    """What the steps need, slice by slice, in order."""
    for where in slices:
        for step in steps:
            for reader in readers(step):
                found = read_of(reader, where)
                if found is not None:
                    yield found


def share_of(step: Reader, where: Slice, part: Slice) -> tuple[int, int]:
    """(begin, end) of what belongs to a part of a slice within the slice's bytes for a step."""
    (start, _), (begin, end) = place_of(step, where), place_of(step, part)
    return begin - start, end - start


def shares_of(steps: Sequence[Reader], data: Sequence[Bytes], where: Slice, part: Slice) -> list[Bytes]:
    """What belongs to a part of a slice of what was read of the slice for each step."""
    places = [share_of(step, where, part) for step in steps]
    return [block[begin:end] for block, (begin, end) in zip(data, places, strict=True)]
