"""The products of vectors with each other: all that rules of distances need to know of them.

A Gram matrix G of m vectors x holds G[i, j] = <x_i, x_j> as [m, m] fp64. A point among them is named by its
coefficients c, [m] fp64: the sum of c_i x_i.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Gram = NDArray[np.float64]
Vector = NDArray[np.float64]

TOO_LONG = 2.0**500
"""Updates of this length and more are taken to be exactly so long, to stand at right angles to all others, and to count
for nothing in the end. Only updates of F64 can be; their products with others might be no finite fp64."""


def bounded(products: Gram) -> tuple[Gram, NDArray[np.bool_]]:
    """The matrix with every number finite, and which vectors are TOO_LONG. No square is NaN."""
    squares = np.diagonal(products)
    too_long = squares >= TOO_LONG**2
    found = products.copy()
    found[too_long, :] = 0.0
    found[:, too_long] = 0.0
    found[too_long, too_long] = TOO_LONG**2
    return found, too_long


def norms(gram: Gram) -> Vector:
    """L2 length of each vector. Of vectors that cancelled each other the square may come out a little below 0."""
    return np.sqrt(np.maximum(np.diagonal(gram), 0.0))


def combined(gram: Gram, shares: NDArray[np.float64]) -> Gram:
    """Of the vectors that the rows of `shares`, [k, m], make of the m vectors."""
    found: Gram = shares @ gram @ shares.T
    return found


def distances(gram: Gram, point: Vector) -> Vector:
    """L2 distance of each vector to a point."""
    to_point = gram @ point
    squares = np.diagonal(gram) - 2.0 * to_point + float(point @ to_point)
    return np.sqrt(np.maximum(squares, 0.0))


def squared_distances(gram: Gram) -> Gram:
    """Of each vector to each."""
    squares = np.diagonal(gram)
    return np.maximum(squares[:, None] + squares[None, :] - 2.0 * gram, 0.0)


def shortened(lengths: Vector, limit: float) -> Vector:
    """What to multiply vectors with so that none is longer than `limit`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lengths > limit, limit / lengths, 1.0)


def median(values: Vector) -> float:
    """The middle one; of an even number the mean of the two middle ones."""
    ordered = np.sort(values)
    middle = len(ordered) // 2
    found = float(ordered[middle]) if len(ordered) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2.0
    assert math.isfinite(found)
    return found
