"""Records: so many numbers each, as so many bytes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Records(Protocol):
    """The arithmetic of one codec. The same numbers give the same bytes."""

    @property
    def elements(self) -> int:
        """Numbers of a record."""

    @property
    def nbytes(self) -> int:
        """Bytes of a record."""

    def encode(self, values: Numbers) -> tuple[Bytes, Numbers]:
        """Records, and what they decode to, both a row each for every row of finite numbers."""
