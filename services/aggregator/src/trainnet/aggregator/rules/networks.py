"""Sorting networks: the same comparisons whatever the numbers are, so that a few calls sort thousands of columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Comparison:
    """Puts the smaller number of two rows into `low` and the larger one into `high`, where somebody needs it there."""

    low: int
    high: int
    keep_low: bool
    keep_high: bool


@cache
def network(rows: int, needed: range) -> tuple[Comparison, ...]:
    """What sorts that many rows, as far as the rows in `needed` are to hold what belongs there."""
    return tuple(_pruned(list(_odd_even_merge(rows)), needed))


def _odd_even_merge(rows: int) -> Iterator[tuple[int, int]]:
    """Batcher's odd-even merge sort for any number of rows (Knuth, The Art of Computer Programming, 5.2.2, M)."""
    width = 1
    while width < rows:
        step = width
        while step:
            for begin in range(step % width, rows - step, 2 * step):
                for low in range(begin, min(begin + step, rows - step)):
                    if low // (2 * width) == (low + step) // (2 * width):
                        yield low, low + step
            step //= 2
        width *= 2


def _pruned(comparisons: list[tuple[int, int]], needed: Collection[int]) -> list[Comparison]:
    """Without what reaches no needed row."""
    live, found = set(needed), []
    for low, high in reversed(comparisons):
        keep_low, keep_high = low in live, high in live
        if keep_low or keep_high:
            found.append(Comparison(low, high, keep_low, keep_high))
            live |= {low, high}
    return found[::-1]
