"""TOPK: the largest few numbers of each chunk, as places, signs and one of two magnitudes; the others are 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.codecs.records import CodecError, Matrix, Sparse, check_magnitudes, widened
from trainnet.aggregator.kernels import Acc, Scratch

_AT_ONCE, _NUMBERS = 256, 1 << 20
"""Records unpacked at a time, and the numbers of the model that they stand for at most: their bits take a byte each, a
number that is kept some thirty bytes."""

_SPARSE = 16
"""A number of so many, and no more, is sparse: a place and its number take four times the room of the number."""


@dataclass(frozen=True)
class TopK:
    """A record is two BF16 magnitudes, 2 bits for each of `keep` numbers, and their places in rising order by the code
    of Elias and Fano: the low bits of each as they are, the high ones in unary."""

    elements: int
    keep: int

    @property
    def low_bits(self) -> int:
        """Bits of a place that are stored as they are."""
        return (self.elements // self.keep).bit_length() - 1

    @property
    def high_bits(self) -> int:
        """Length of the unary code of all places' high bits: a one for each place, before it as many zeros as it lies
        higher than the one before. So whatever `keep` ones there are, their places are within the chunk."""
        return self.keep + (self.elements >> self.low_bits) - 1

    @property
    def _sections(self) -> tuple[int, int, int]:
        """Where the values, the low bits and the high bits end."""
        values = 4 + _bytes(2 * self.keep)
        lows = values + _bytes(self.keep * self.low_bits)
        return values, lows, lows + _bytes(self.high_bits)

    @property
    def nbytes(self) -> int:
        return self._sections[2]

    @property
    def _at_once(self) -> int:
        return max(1, min(_AT_ONCE, _NUMBERS // self.elements))

    def add(self, acc: Acc, records: Matrix, skip: int, weight: float, *, first: bool, scratch: Scratch) -> None:
        if first:
            # Sums of sparse terms begin at +0.0: adding a zero then changes nothing, whatever its sign.
            acc[:] = 0.0
        for places, values in self._within(records, skip, len(acc)):
            acc[places] += np.multiply(values, weight, dtype=np.float64)

    def sum_of_squares(self, records: Matrix, skip: int, count: int, scratch: Scratch) -> float:
        check_magnitudes(self._levels(records), "a chunk's magnitude")
        total = 0.0
        for row in range(0, len(records), self._at_once):
            places, values = self._decoded(records[row : row + self._at_once])
            rows = places.reshape(-1, self.keep)
            if self.keep > 1 and int((rows[:, 1:] - rows[:, :-1]).min(initial=1)) < 1:
                raise CodecError("the places of a chunk's numbers do not rise")
            places += row * self.elements - skip
            found = values[(places >= 0) & (places < count)].astype(np.float64)
            total += float(np.add.reduce(found * found))
        return total

    def sparse(self, records: Matrix, skip: int, count: int) -> Sparse | None:
        if self.keep * _SPARSE > self.elements:
            return None
        found = list(self._within(records, skip, count))
        places = np.concatenate([places for places, _ in found] or [np.zeros(0, np.int64)])
        values = np.concatenate([values for _, values in found] or [np.zeros(0, np.float32)])
        return places, values.astype(np.float64)

    def _within(
        self, records: Matrix, skip: int, count: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Places of `count` numbers from `skip` on, counted from there, and the numbers there."""
        for row in range(0, len(records), self._at_once):
            places, values = self._decoded(records[row : row + self._at_once])
            places += row * self.elements - skip
            inside = (places >= 0) & (places < count)
            if not inside.all():
                places, values = places[inside], values[inside]
            yield places, values

    def _levels(self, records: Matrix) -> NDArray[np.uint16]:
        return np.ascontiguousarray(records[:, :4]).view("<u2")

    def _decoded(self, records: Matrix) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places, counted from the first record's first number, and the numbers there. Raises CodecError."""
        count, (values_end, lows_end, end) = len(records), self._sections
        codes = np.unpackbits(records[:, 4:values_end], axis=1, bitorder="little")[:, : 2 * self.keep]
        codes = codes.reshape(count, self.keep, 2)
        levels = widened(self._levels(records))
        values = np.where(codes[:, :, 0] != 0, levels[:, 1:], levels[:, :1])
        np.negative(values, out=values, where=codes[:, :, 1] != 0)

        highs = np.unpackbits(records[:, lows_end:end], axis=1, bitorder="little")
        ones = np.flatnonzero(highs.view(np.bool_))
        if len(ones) != count * self.keep:
            raise CodecError(f"a chunk has not {self.keep} places")
        # Each record's own: they come in order, so the first and the last of its `keep` tell of all.
        places = ones.reshape(count, self.keep)
        begins = np.arange(count)[:, None] * highs.shape[1]
        places -= begins
        if int(places[:, 0].min(initial=0)) < 0 or int(places[:, -1].max(initial=0)) >= self.high_bits:
            raise CodecError("a place lies beyond its chunk")
        places -= np.arange(self.keep)
        places <<= self.low_bits
        places += self._lows(records[:, values_end:lows_end])
        places += np.arange(count)[:, None] * self.elements
        return places.reshape(-1), values.reshape(-1)

    def _lows(self, section: Matrix) -> NDArray[np.int64]:
        bits = np.unpackbits(section, axis=1, bitorder="little")[:, : self.keep * self.low_bits]
        bits = bits.reshape(len(section), self.keep, self.low_bits)
        found = np.zeros((len(section), self.keep), np.int64)
        for place in range(self.low_bits):
            found |= bits[:, :, place].astype(np.int64) << place
        return found


def _bytes(bits: int) -> int:
    return -(-bits // 8)
