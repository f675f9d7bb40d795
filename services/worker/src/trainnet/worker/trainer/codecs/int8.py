"""INT8: 8 bits for each number, and a scale for each block of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainnet.worker.trainer.codecs import bf16
from trainnet.worker.trainer.codecs.records import Bytes, Numbers

_MOST = 127


@dataclass(frozen=True)
class Int8:
    """Blocks of `elements` numbers."""

    elements: int

    @property
    def nbytes(self) -> int:
        return 2 + self.elements

    def encode(self, values: Numbers) -> tuple[Bytes, Numbers]:
        largest = np.abs(values).max(axis=1)
        # Rounded up, so that no number is out of reach.
        scales = bf16.rounded_up(largest / np.float32(_MOST))
        scale = bf16.widened(scales)[:, None]
        whole = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
        np.clip(np.rint(whole, out=whole), -_MOST, _MOST, out=whole)
        rows = np.empty((len(values), self.nbytes), np.uint8)
        rows[:, :2] = scales[:, None].view(np.uint8)
        rows[:, 2:] = whole.astype(np.int8).view(np.uint8)
        return rows, np.multiply(whole, scale, out=whole)
