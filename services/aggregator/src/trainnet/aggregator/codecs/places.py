"""Where the elements of a model lie in an update, which has them in the base's order but in other lengths."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """Elements that lie one after the other in units of so many bytes: numbers of `dtype`, or records where it is
    empty. `first` is the number of its first element in the model, `begin` its first byte in the data section."""

    first: int
    count: int
    begin: int
    dtype: str
    unit: int
    unit_bytes: int

    def bytes_of(self, low: int, high: int) -> tuple[int, int]:
        """(begin, end) of the units that hold elements [low, high) of the model, some of the run."""
        begin = (low - self.first) // self.unit
        end = -(-(high - self.first) // self.unit)
        return self.begin + begin * self.unit_bytes, self.begin + end * self.unit_bytes


class Places:
    """Runs without a gap, from the first element of the model to its last."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = [run for run in runs if run.count]
        self._firsts = [run.first for run in self._runs]

    @property
    def data_size(self) -> int:
        """Bytes of the data section."""
        last = self._runs[-1] if self._runs else None
        return last.bytes_of(last.first, last.first + last.count)[1] if last else 0

    def within(self, low: int, high: int) -> Iterator[tuple[Run, int, int]]:
        """(run, low, high) of the runs that elements [low, high) lie in."""
        for index in range(bisect_right(self._firsts, low) - 1, len(self._runs)):
            run = self._runs[index]
            if run.first >= high:
                return
            yield run, max(low, run.first), min(high, run.first + run.count)

    def bytes_of(self, low: int, high: int) -> tuple[int, int]:
        """(begin, end) in the data section of what holds elements [low, high)."""
        found = [run.bytes_of(start, stop) for run, start, stop in self.within(low, high)]
        return (found[0][0], found[-1][1]) if found else (0, 0)
