"""Records: what a codec makes of so many numbers, always of the same length, so that any of them can be read alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.kernels import Acc, Scratch

Matrix = NDArray[np.uint8]
"""Records below each other, a row each."""

Places = NDArray[np.int64]

Sparse = tuple[Places, NDArray[np.float64]]
"""Rising places, and the numbers there; all others are 0."""


class CodecError(Exception):
    """Records that mean nothing; the message says why. An update that has them is not accepted."""


class Records(Protocol):
    """The arithmetic of one codec. Numbers are counted from the first one of the first record given; those of a record
    beyond what is asked for do not count."""

    @property
    def elements(self) -> int:
        """Numbers of a record."""

    @property
    def nbytes(self) -> int:
        """Bytes of a record."""

    def add(self, acc: Acc, records: Matrix, skip: int, weight: float, *, first: bool, scratch: Scratch) -> None:
        """acc += weight x the numbers from `skip` on; with `first`, what `acc` held does not count."""

    def sum_of_squares(self, records: Matrix, skip: int, count: int, scratch: Scratch) -> float:
        """Of `count` numbers from `skip` on, in fp64; NaN or infinite where one of them is. Raises CodecError."""

    def sparse(self, records: Matrix, skip: int, count: int) -> Sparse | None:
        """Of `count` numbers from `skip` on, places being counted from there; None where records have a number for each
        place. Raises CodecError."""
        ...


def widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """BF16 as fp32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def check_magnitudes(bits: NDArray[np.uint16], what: str) -> None:
    """Raises CodecError unless all are finite and none is negative: their 16 bits then are at most those of the largest
    finite BF16."""
    if bits.size and int(bits.max()) > 0x7F7F:
        found = float(widened(bits[bits > 0x7F7F][:1])[0])
        raise CodecError(f"{what} is {found:g}, neither 0 nor a positive number")
