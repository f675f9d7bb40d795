"""What reads the updates of a round: which tensors they have, where a slice lies, what it adds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from trainnet.aggregator import kernels
from trainnet.aggregator.codecs.places import Places
from trainnet.aggregator.codecs.records import Matrix, Records, Sparse
from trainnet.aggregator.kernels import Acc, Bytes, Scratch
from trainnet.aggregator.layout import Piece, Slice
from trainnet.runtime.tensors import TensorInfo


class Decoder(Protocol):
    """The one place where an update's bytes become numbers. Thread-safe."""

    @property
    def name(self) -> str:
        """The codec and its numbers, as the metadata of updates have them."""

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """What an update has, in file order."""

    @property
    def data_size(self) -> int:
        """Bytes of an update's data section, with which its file ends."""

    def place(self, where: Slice) -> tuple[int, int]:
        """(begin, end) of the bytes within the data section that hold a slice; neighbours may share a record."""

    def add(self, acc: Acc, data: Bytes, where: Slice, weight: float, *, first: bool, scratch: Scratch) -> None:
        """acc += weight x the slice's numbers, `data` being what lies at its place; with `first`, what `acc` held does
        not count. Raises CodecError for bytes that no check has accepted."""

    def sum_of_squares(self, data: Bytes, where: Slice, scratch: Scratch) -> float:
        """Of the slice's floating-point numbers, in fp64; NaN if one of them is NaN or infinite. Raises CodecError."""

    def sparse(self, data: Bytes, where: Slice) -> Sparse | None:
        """The slice's numbers where nearly all are 0, places being counted from its first element; None where they are
        not, whatever the numbers. Raises CodecError."""


class AsItIs:
    """FP32: the base's tensors in the base's dtypes."""

    name = "fp32"

    def __init__(self, tensors: tuple[TensorInfo, ...]) -> None:
        self.tensors = tensors

    @property
    def data_size(self) -> int:
        return _data_size(self.tensors)

    def place(self, where: Slice) -> tuple[int, int]:
        return where.begin, where.end

    def add(self, acc: Acc, data: Bytes, where: Slice, weight: float, *, first: bool, scratch: Scratch) -> None:
        kernels.add_term(acc, data, where, weight, first=first, scratch=scratch)

    def sum_of_squares(self, data: Bytes, where: Slice, scratch: Scratch) -> float:
        return kernels.sum_of_squares(data, where, scratch)

    def sparse(self, data: Bytes, where: Slice) -> None:
        return None


class Converted:
    """The base's elements in its order, but as other dtypes or in records."""

    def __init__(self, name: str, tensors: tuple[TensorInfo, ...], places: Places, records: Records | None) -> None:
        self.name, self.tensors = name, tensors
        self._places, self._records = places, records

    @property
    def data_size(self) -> int:
        return _data_size(self.tensors)

    def place(self, where: Slice) -> tuple[int, int]:
        return self._places.bytes_of(where.first, where.first + where.count)

    def add(self, acc: Acc, data: Bytes, where: Slice, weight: float, *, first: bool, scratch: Scratch) -> None:
        kernels.add_term(acc, data, self._plain(where), weight, first=first, scratch=scratch)
        for begin, end, rows, skip in self._stored(data, where):
            assert self._records is not None
            self._records.add(acc[begin:end], rows, skip, weight, first=first, scratch=scratch)

    def sum_of_squares(self, data: Bytes, where: Slice, scratch: Scratch) -> float:
        total = kernels.sum_of_squares(data, self._plain(where), scratch)
        for begin, end, rows, skip in self._stored(data, where):
            assert self._records is not None
            total += self._records.sum_of_squares(rows, skip, end - begin, scratch)
        # fp32 squared is finite in fp64, so what is infinite was infinite.
        return total if math.isfinite(total) or self._records is None else math.nan

    def sparse(self, data: Bytes, where: Slice) -> Sparse | None:
        if self._records is None or self._plain(where).pieces:
            return None
        every: list[Sparse] = []
        for begin, end, rows, skip in self._stored(data, where):
            found = self._records.sparse(rows, skip, end - begin)
            if found is None:
                return None
            every.append((found[0] + begin, found[1]))
        if len(every) == 1:
            return every[0]
        return np.concatenate([places for places, _ in every]), np.concatenate([numbers for _, numbers in every])

    def _plain(self, where: Slice) -> Slice:
        """What of a slice is no records, as a slice of the bytes at its place."""
        start, end = self.place(where)
        pieces = []
        for run, low, high in self._places.within(where.first, where.first + where.count):
            if run.dtype:
                begin, _ = run.bytes_of(low, high)
                pieces.append(Piece(run.dtype, begin - start, low - where.first, high - low))
        return Slice(start, end, where.first, where.count, tuple(pieces))

    def _stored(self, data: Bytes, where: Slice) -> Iterable[tuple[int, int, Matrix, int]]:
        """(first element and end within the slice, records, elements of the first record before) of a slice."""
        start, _ = self.place(where)
        for run, low, high in self._places.within(where.first, where.first + where.count):
            if not run.dtype:
                begin, end = run.bytes_of(low, high)
                rows = data[begin - start : end - start].reshape(-1, run.unit_bytes)
                yield low - where.first, high - where.first, rows, (low - run.first) % run.unit


def _data_size(tensors: tuple[TensorInfo, ...]) -> int:
    return tensors[-1].end if tensors else 0
