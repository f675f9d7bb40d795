"""The geometric median by smoothed Weiszfeld steps, RFA (Pillutla et al. 2019, arXiv:1912.13445)."""

from __future__ import annotations

import numpy as np

from trainnet.aggregator.rules.gram import Gram, Vector, distances, median, norms, shortened

SMOOTHING = 1e-6
"""The least distance that counts, in median lengths of the vectors: the paper's nu, which has the unit of a length."""


def geometric_median(gram: Gram, iterations: int) -> Vector:
    """Coefficients of the point with about the least sum of distances to the vectors.

    The paper begins at the mean, which one vector can carry so far away that no few steps lead back; this begins at the
    mean of the vectors brought to the median length.
    """
    lengths = norms(gram)
    typical = median(lengths)
    point: Vector = shortened(lengths, typical) / len(gram)
    if typical == 0.0:
        return point
    for _ in range(iterations):
        pulls = 1.0 / np.maximum(distances(gram, point), SMOOTHING * typical)
        point = pulls / pulls.sum()
    return point
