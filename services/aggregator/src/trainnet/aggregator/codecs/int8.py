"""INT8: a BF16 scale for each block of numbers, and 8 bits for each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.codecs.records import Matrix, check_magnitudes, widened
from trainnet.aggregator.kernels import Acc, Scratch


@dataclass(frozen=True)
class Int8:
    """A record is the scale and then `elements` signed bytes; a number is byte x scale, which fp32 holds exactly."""

    elements: int

    @property
    def nbytes(self) -> int:
        return 2 + self.elements

    def add(self, acc: Acc, records: Matrix, skip: int, weight: float, *, first: bool, scratch: Scratch) -> None:
        step = self._step(scratch)
        begin = 0
        for row in range(0, len(records), step):
            found = self._numbers(records[row : row + step], scratch)[skip if row == 0 else 0 :][: len(acc) - begin]
            target = acc[begin : begin + len(found)]
            product = target if first else scratch.doubles[: len(found)]
            np.multiply(found, weight, out=product, dtype=np.float64)
            if not first:
                np.add(target, product, out=target)
            begin += len(found)

    def sum_of_squares(self, records: Matrix, skip: int, count: int, scratch: Scratch) -> float:
        check_magnitudes(self._scales(records), "a block's scale")
        total, begin, step = 0.0, 0, self._step(scratch)
        for row in range(0, len(records), step):
            found = self._numbers(records[row : row + step], scratch)[skip if row == 0 else 0 :][: count - begin]
            squares = scratch.doubles[: len(found)]
            np.multiply(found, found, out=squares, dtype=np.float64)
            total += float(np.add.reduce(squares))
            begin += len(found)
        return total

    def sparse(self, records: Matrix, skip: int, count: int) -> None:
        return None

    def _step(self, scratch: Scratch) -> int:
        """Records at a time."""
        return max(1, len(scratch.doubles) // self.elements)

    def _scales(self, records: Matrix) -> NDArray[np.uint16]:
        return np.ascontiguousarray(records[:, :2]).view("<u2").reshape(-1)

    def _numbers(self, records: Matrix, scratch: Scratch) -> NDArray[np.float32]:
        """The numbers of some records, one after the other."""
        found = scratch.singles(len(records) * self.elements).reshape(len(records), self.elements)
        # In two steps: a conversion and a multiplication at once go through numpy's small buffers.
        np.copyto(found, records[:, 2:].view(np.int8))
        with np.errstate(over="ignore"):  # which a check takes for what it is: not finite
            np.multiply(found, widened(self._scales(records))[:, None], out=found)
        return found.reshape(-1)
