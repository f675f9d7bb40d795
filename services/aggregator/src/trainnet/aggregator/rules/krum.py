"""Krum and Multi-Krum (Blanchard et al. 2017, arXiv:1703.02757)."""

from __future__ import annotations

import numpy as np

from trainnet.aggregator.rules.gram import Gram, Vector, squared_distances


def scores(gram: Gram, byzantine: int) -> Vector:
    """For each vector the sum of its squared distances to the m - byzantine - 2 others that are closest to it."""
    squares = squared_distances(gram)
    np.fill_diagonal(squares, -1.0)  # itself comes first and is left out
    found: Vector = np.sort(squares, axis=1)[:, 1 : len(gram) - byzantine - 1].sum(axis=1)
    return found


def krum(gram: Gram, byzantine: int, keep: int) -> Vector:
    """Coefficients of the mean of the `keep` vectors with the lowest scores; of equal ones the first."""
    coefficients = np.zeros(len(gram))
    coefficients[np.argsort(scores(gram, byzantine), kind="stable")[:keep]] = 1.0 / keep
    return coefficients
