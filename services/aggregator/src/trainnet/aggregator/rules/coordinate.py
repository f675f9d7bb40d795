"""Rules of coordinates: median and trimmed mean of rows, each coordinate by itself (Yin et al. 2018, arXiv:1803.01498).

Rows are arrays of the same length, one for each update or bucket; both rules sort them and take what is in the middle.
A few rows are sorted by a network of whole-array comparisons, more of them faster as columns by numpy's own sort: the
sorted numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.kernels import Acc
from trainnet.aggregator.rules.networks import network

Rows = NDArray[Any]
"""[rows, coordinates] of fp32 or fp64, finite."""

MOST_IN_A_NETWORK = 32
_IN_CACHE = 1 << 20
"""Bytes of the rows that are sorted at a time: half a level-2 cache."""


def middle(count: int, drop: int | None) -> range:
    """The places of the sorted rows that make the result: all but `drop` at both ends; None for the median's one or
    two."""
    left_out = (count - 1) // 2 if drop is None else drop
    return range(left_out, count - left_out)


def combine(rows: Rows, drop: int | None, out: Acc) -> None:
    """out = the mean of the middle of each coordinate, summed from the smallest to the largest in fp64; a zero is +0.0,
    since sorting knows no order of the two. `rows` is used up."""
    places = middle(len(rows), drop)
    size = max(1, _IN_CACHE // (len(rows) * rows.itemsize))
    for begin in range(0, rows.shape[1], size):
        _combine(rows[:, begin : begin + size], places, out[begin : begin + size])


def _combine(rows: Rows, places: range, out: Acc) -> None:
    kept = _sorted(rows, places)
    np.copyto(out, kept[0])
    for row in kept[1:]:
        np.add(out, row, out=out)
    if len(kept) > 1:
        np.divide(out, float(len(kept)), out=out)
    np.add(out, 0.0, out=out)


def _sorted(rows: Rows, places: range) -> Sequence[Rows]:
    """What belongs to those places of each sorted column, a row for each place."""
    if len(rows) > MOST_IN_A_NETWORK:
        columns = np.ascontiguousarray(rows.T)
        columns.sort(axis=1)
        kept = rows[: len(places)]
        np.copyto(kept, columns[:, places.start : places.stop].T)
        return list(kept)
    arrays, spare = list(rows), np.empty_like(rows[0])
    for comparison in network(len(rows), places):
        low, high = arrays[comparison.low], arrays[comparison.high]
        if not comparison.keep_high:
            np.minimum(low, high, out=low)
        elif not comparison.keep_low:
            np.maximum(low, high, out=high)
        else:
            np.minimum(low, high, out=spare)
            np.maximum(low, high, out=high)
            arrays[comparison.low], spare = spare, low
    return [arrays[place] for place in places]
