"""The numbers of many updates at once: a block of the model as a matrix, a row for each update or bucket of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.fold import AddTerm, share_of
from trainnet.aggregator.kernels import Bytes, Scratch
from trainnet.aggregator.layout import Slice

Rows = NDArray[Any]
"""[rows, elements] of fp32 or fp64."""

_BLOCK_BYTES = 16 << 20
"""Of a block in fp64: each stretch of a row costs some microseconds of its own, so they are not short."""

_IN_FP32 = frozenset({"F32", "F16", "BF16", "I8", "U8", "I16", "U16", "BOOL"})
"""What fp32 holds exactly."""


class RowBlocks:
    """Cuts slices into blocks of rows, always in the same memory; one per thread."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._memory = np.zeros(0, np.uint8)

    def of(
        self, rows: Sequence[Sequence[AddTerm]], data: Sequence[Bytes], where: Slice, *, fp64: bool = False
    ) -> Iterator[tuple[int, Rows]]:
        """(first element within the slice, rows) of each block of a slice, from what was read for each term of each
        row. A row is the sum of its terms, 0 where it has none. fp32 where that is exact and not `fp64`, else fp64."""
        alone = not fp64 and all(len(terms) == 1 and terms[0].weight == 1.0 for terms in rows)
        for block in where.split(-(-where.count * 8 * len(rows) // _BLOCK_BYTES)):
            exact = alone and all(piece.dtype in _IN_FP32 for piece in block.pieces)
            found = self._matrix(len(rows), block.count, np.dtype(np.float32 if exact else np.float64))
            blobs = iter(data)
            for row, terms in zip(found, rows, strict=True):
                if not terms:
                    row[:] = 0.0
                for term in terms:
                    begin, end = share_of(term, where, block)
                    term.add_to(row, next(blobs)[begin:end], block, self._scratch)
            yield block.first - where.first, found

    def _matrix(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Rows:
        size = rows * columns * dtype.itemsize
        if len(self._memory) < size:
            self._memory = np.zeros(size, np.uint8)
        return self._memory[:size].view(dtype).reshape(rows, columns)
