"""The order of a merge: which bytes are read for a slice, and what is done with them.

One plan serves every slice. Terms come group by group and in shard order within a group; a group's sum is finished
before it joins the total; the base comes last.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainnet.aggregator import kernels, optimizers, partials
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.codecs.records import CodecError
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.kernels import Acc, Bytes, Scratch
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.optimizers import Optimizer
from trainnet.aggregator.readahead import Read
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


@dataclass(frozen=True, slots=True)
class AddPartial:
    """Add a stored group sum to the total."""

    key: str
    opens: bool


@dataclass(frozen=True, slots=True)
class Advance:
    """Divide by the weights, and make the optimiser's steps of the means; its state moves on."""

    key: str
    """Of the state after the round before; empty in the first round."""
    data_begin: int
    total_weight: float
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
    """None after Advance, which has divided."""


Step = AddTerm | AddPartial | Advance | AddBase


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


def after(base: AddBase) -> AddBase:
    """The last step where an optimiser comes before it."""
    return replace(base, total_weight=None)


def place_of(step: Step, where: Slice) -> tuple[int, int]:
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


def read_of(step: Step, where: Slice) -> Read | None:
    """The read of what a step needs of a slice; None where there is nothing to read."""
    begin, end = place_of(step, where)
    return Read(step.key, begin, end - begin) if step.key and end > begin else None


def reads(steps: Sequence[Step], slices: Iterable[Slice]) -> Iterator[Read]:
    """What the steps need, slice by slice, in order."""
    for where in slices:
        for step in steps:
            found = read_of(step, where)
            if found is not None:
                yield found


def share_of(step: Step, where: Slice, part: Slice) -> tuple[int, int]:
    """(begin, end) of what belongs to a part of a slice within the slice's bytes for a step."""
    (start, _), (begin, end) = place_of(step, where), place_of(step, part)
    return begin - start, end - start


class Folder:
    """The sums of one slice at a time; one per thread, used again for every slice."""

    WORTH_A_THREAD = kernels.BLOCK
    """Elements below which another thread costs more than it saves."""

    def __init__(self, max_elements: int, *, grouped: bool) -> None:
        self.total: Acc = np.zeros(max_elements)
        self._group: Acc = np.zeros(max_elements if grouped else 0)
        self._scratch = Scratch(max_elements)

    def apply(self, step: Step, data: Bytes, where: Slice) -> None:
        """Does one step; after AddBase, `data` holds the merged bytes, after Advance the new state."""
        match step:
            case AddTerm():
                acc = self.total if step.opens else self._group
                self._add(step, acc[: where.count], data, where)
                if step.last and not step.opens:
                    np.add(self.total[: where.count], acc[: where.count], out=self.total[: where.count])
            case AddPartial():
                kernels.add_partial(self.total, data, where, first=step.opens)
            case Advance():
                if not step.key:
                    optimizers.set_initial(data, step.optimizer)
                optimizers.advance(self.total, data, where, step.total_weight, step.optimizer, self._scratch)
            case AddBase():
                kernels.finish(self.total, data, where, step.total_weight, self._scratch)

    def _add(self, step: AddTerm, acc: Acc, data: Bytes, where: Slice) -> None:
        try:
            step.decoder.add(acc, data, where, step.weight, first=step.first, scratch=self._scratch)
        except CodecError as error:
            raise Unmergeable(f"{step.key} is damaged: {error}") from None
