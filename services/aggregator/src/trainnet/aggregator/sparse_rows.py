"""The numbers of many sparse updates at once: of a block of the model, the few columns that a rule has to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.codecs.records import Places, Sparse
from trainnet.aggregator.fold import AddTerm, shares_of
from trainnet.aggregator.kernels import Acc, Bytes
from trainnet.aggregator.layout import Slice

_BLOCK_NUMBERS = 16 << 20
"""Numbers of a block, zeros among them: what is found in each update costs some tens of microseconds of its own, and
much more memory than its bytes."""

_BLOCK_COLUMNS = 256 << 10
"""Of a block at most: what is counted for each is half a level-2 cache."""

_MATRIX_BYTES = 8 << 20

_NOWHERE = np.zeros(0, np.int64)


class SparseRows:
    """So many elements of rows that have few numbers other than 0; each row is the sum of its terms."""

    def __init__(self, count: int, rows: Sequence[Sequence[Sparse]]) -> None:
        self._count, self._rows = count, rows

    def squares(self) -> Acc:
        """The sum of squares of each row, none of which has more than one term."""
        return np.array([sum(float(numbers @ numbers) for _, numbers in terms) for terms in self._rows])

    def columns_of_more(self, most: int) -> Iterator[tuple[NDArray[np.intp], Acc]]:
        """(columns, [rows, columns]), some columns at a time, of all in which more than `most` rows have a number; of
        rows with several terms also some others."""
        every = [places for terms in self._rows for places, _ in terms]
        many = np.bincount(np.concatenate([_NOWHERE, *every]), minlength=self._count) > most
        columns = np.flatnonzero(many)
        order = np.empty(self._count, np.intp)
        order[columns] = np.arange(len(columns))
        kept = [[_picked(places, numbers, many, order) for places, numbers in terms] for terms in self._rows]
        size = max(1, _MATRIX_BYTES // (8 * len(self._rows)))
        for begin in range(0, len(columns), size):
            some = columns[begin : begin + size]
            matrix = np.zeros((len(self._rows), len(some)))
            for row, terms in zip(matrix, kept, strict=True):
                for places, numbers in terms:
                    low, high = np.searchsorted(places, (begin, begin + len(some)))
                    row[places[low:high] - begin] += numbers[low:high]
            yield some, matrix


def blocks(terms: Sequence[AddTerm], data: Sequence[Bytes], where: Slice) -> Iterator[tuple[Slice, Sequence[Bytes]]]:
    """Blocks of a slice that are short enough, each with its part of what was read for each term."""
    columns = max(1, min(_BLOCK_COLUMNS, _BLOCK_NUMBERS // max(1, len(terms))))
    for block in where.split(-(-where.count // columns)):
        yield block, data if block is where else shares_of(terms, data, where, block)


def sparse_rows(rows: Sequence[Sequence[AddTerm]], data: Sequence[Bytes], where: Slice) -> SparseRows | None:
    """From what was read for each term of each row; None where they are not sparse. Raises Unmergeable."""
    blobs = iter(data)
    found: list[list[Sparse]] = []
    for terms in rows:
        found.append([])
        for term in terms:
            sparse = term.sparse(next(blobs), where)
            if sparse is None:
                return None
            found[-1].append(sparse)
    return SparseRows(where.count, found)


def _picked(places: Places, numbers: Acc, among: NDArray[np.bool_], order: NDArray[np.intp]) -> Sparse:
    """What lies in the columns `among` all, by their order."""
    inside = among[places]
    return order[places[inside]], numbers[inside]
