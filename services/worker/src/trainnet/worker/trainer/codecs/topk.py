"""TOPK: the largest few numbers of each chunk with 2 bits each (Sarfi et al. 2025, SparseLoCo, arXiv:2508.15706)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainnet.worker.trainer.codecs import bf16
from trainnet.worker.trainer.codecs.records import Bytes, Numbers

Places = NDArray[np.int64]


@dataclass(frozen=True)
class TopK:
    """Chunks of `elements` numbers, a power of two, of which `keep` travel."""

    elements: int
    keep: int

    @property
    def low_bits(self) -> int:
        """Bits of a place that travel as they are."""
        return (self.elements // self.keep).bit_length() - 1

    @property
    def high_bits(self) -> int:
        """Bits for what is above them, of all places together."""
        return self.keep + (self.elements >> self.low_bits) - 1

    @property
    def nbytes(self) -> int:
        return 4 + sum(-(-bits // 8) for bits in (2 * self.keep, self.keep * self.low_bits, self.high_bits))

    def encode(self, values: Numbers) -> tuple[Bytes, Numbers]:
        places = self._largest(np.abs(values))
        chosen = np.take_along_axis(values, places, axis=1)
        magnitudes, negative = np.abs(chosen), np.signbit(chosen)
        levels = self._levels(magnitudes)
        low, high = bf16.widened(levels).T[:, :, None]
        is_high = magnitudes > (low + high) / 2
        decoded = np.zeros_like(values)
        sent = np.where(is_high, high, low)
        np.put_along_axis(decoded, places, np.where(negative, -sent, sent), axis=1)
        sections = [levels.view(np.uint8), _packed(np.stack([is_high, negative], axis=2)), *self._coded(places)]
        return np.hstack(sections), decoded

    def _largest(self, magnitudes: Numbers) -> Places:
        """Places of the largest `keep` of each row, rising; of equal ones those that come first."""
        if self.keep == self.elements:
            return np.broadcast_to(np.arange(self.elements), magnitudes.shape)
        at = self.elements - self.keep
        least = np.partition(magnitudes, at, axis=1)[:, at, None]
        chosen = magnitudes >= least
        for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > self.keep):
            equal = np.flatnonzero(magnitudes[row] == least[row])
            too_many = np.count_nonzero(chosen[row]) - self.keep
            chosen[row, equal[-too_many:]] = False
        return np.nonzero(chosen)[1].reshape(-1, self.keep)

    def _levels(self, magnitudes: Numbers) -> NDArray[np.uint16]:
        """The two nearest to the magnitudes of each row: means of the smaller and of the larger ones, cut where
        the squared distances are least, which is where the squares of the means weigh most."""
        sums = np.cumsum(np.sort(magnitudes, axis=1), axis=1, dtype=np.float64)
        total = sums[:, -1:]
        if self.keep == 1:
            return bf16.rounded(np.repeat(total, 2, axis=1).astype(np.float32))
        below, smaller = np.arange(1, self.keep), sums[:, :-1]
        weight = smaller**2 / below + (total - smaller) ** 2 / (self.keep - below)
        cut = np.argmax(weight, axis=1)[:, None]
        smaller = np.take_along_axis(smaller, cut, axis=1)
        means = np.hstack([smaller / (cut + 1), (total - smaller) / (self.keep - 1 - cut)])
        return bf16.rounded(means.astype(np.float32))

    def _coded(self, places: Places) -> tuple[Bytes, Bytes]:
        """Low bits, and high bits in unary (Elias and Fano)."""
        lows = (places[:, :, None] >> np.arange(self.low_bits)) & 1
        ones = np.zeros((len(places), self.high_bits), np.bool_)
        np.put_along_axis(ones, (places >> self.low_bits) + np.arange(self.keep), True, axis=1)
        return _packed(lows), _packed(ones)


def _packed(bits: NDArray[np.integer | np.bool_]) -> Bytes:
    """Rows of bits as rows of bytes."""
    return np.packbits(bits.reshape(len(bits), -1).astype(np.bool_), axis=1, bitorder="little")
