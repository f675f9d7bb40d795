"""How a model is cut into slices: the unit of reading, folding and writing.

A slice is a run of bytes of the data section that ends between elements. The cuts never influence the result, since
the arithmetic is per element; they bound the memory.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from trainnet.runtime.tensors import DTYPES, TensorInfo


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of one dtype that follow each other; `begin` counts bytes, `first` elements, both within the slice.

    `state` is the place of the first one's state among those of the slice, -1 where the elements have none.
    """

    dtype: str
    begin: int
    first: int
    count: int
    state: int = -1

    @property
    def end(self) -> int:
        return self.begin + self.count * DTYPES[self.dtype][0]


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes [begin, end) of the data section; its first element is number `first` of the model, the first one that has
    a state is number `state_first` of those that have one."""

    begin: int
    end: int
    first: int
    count: int
    pieces: tuple[Piece, ...]
    state_first: int = 0
    state_count: int = 0

    @property
    def nbytes(self) -> int:
        return self.end - self.begin

    def split(self, parts: int) -> list[Slice]:
        """At most `parts` neighbouring slices of nearly equal element counts."""
        if parts <= 1 or self.count <= 1:
            return [self]
        size = -(-self.count // parts)
        return [self._part(begin, min(begin + size, self.count)) for begin in range(0, self.count, size)]

    def _part(self, begin: int, end: int) -> Slice:
        """Elements [begin, end) of this slice."""
        pieces: list[Piece] = []
        start = used = states_before = states = 0
        for piece in self.pieces:
            low, high = max(begin, piece.first), min(end, piece.first + piece.count)
            if piece.state >= 0:
                states_before += min(max(begin - piece.first, 0), piece.count)
            if low >= high:
                continue
            width = DTYPES[piece.dtype][0]
            if not pieces:
                start = piece.begin + (low - piece.first) * width
            pieces.append(Piece(piece.dtype, used, low - begin, high - low, states if piece.state >= 0 else -1))
            used += (high - low) * width
            states += high - low if piece.state >= 0 else 0
        return Slice(
            self.begin + start,
            self.begin + start + used,
            self.first + begin,
            end - begin,
            tuple(pieces),
            self.state_first + states_before,
            states,
        )


def round_down(size: int) -> int:
    """The power of two not above `size`, and not below what a slice has at least."""
    return max(64, 1 << (max(1, size).bit_length() - 1))


def data_size(tensors: Sequence[TensorInfo]) -> int:
    """Bytes of a data section."""
    return tensors[-1].end if tensors else 0


def element_count(tensors: Iterable[TensorInfo]) -> int:
    """Elements of a model."""
    return sum(tensor.count for tensor in tensors)


def cut(
    tensors: Sequence[TensorInfo],
    max_bytes: int,
    max_elements: int,
    *,
    header_size: int = 0,
    stateful: Container[str] = frozenset(),
) -> list[Slice]:
    """Cuts a model, tensors in file order, into slices within both limits. Neighbours of one dtype become one piece,
    those in `stateful`, whose elements have a state, apart from the others.

    With the size of the header the first slice is shorter, so that the others begin at multiples of `max_bytes` in the
    file: stores keep objects in chunks of a power of two, and a range over the seam of two costs them both.
    """
    if max_bytes < 8 or max_elements < 1:
        raise ValueError("a slice holds one element at least")
    lead = header_size % max_bytes
    limit = max_bytes - lead if max_bytes - lead >= 8 else max_bytes
    slices: list[Slice] = []
    pieces: list[Piece] = []
    position = element = state = 0
    used = count = states = 0

    def close() -> None:
        nonlocal position, element, state, used, count, states, limit
        limit = max_bytes
        if count:
            slices.append(Slice(position, position + used, element, count, tuple(pieces), state, states))
            position, element, state = position + used, element + count, state + states
            used = count = states = 0
            pieces.clear()

    for dtype, with_state, length in _runs(tensors, stateful):
        width, left = DTYPES[dtype][0], length
        while left:
            taken = min(left, (limit - used) // width, max_elements - count)
            if taken == 0:
                close()
                continue
            pieces.append(Piece(dtype, used, count, taken, states if with_state else -1))
            used, count, left = used + taken * width, count + taken, left - taken
            states += taken if with_state else 0
    close()
    return slices


def _runs(tensors: Iterable[TensorInfo], stateful: Container[str]) -> Iterable[tuple[str, bool, int]]:
    """(dtype, whether they have a state, count) of neighbouring elements of a kind."""
    kind, count = ("", False), 0
    for tensor in tensors:
        found = tensor.dtype, tensor.name in stateful
        if found != kind and count:
            yield *kind, count
            count = 0
        kind, count = found, count + tensor.count
    if count:
        yield *kind, count
