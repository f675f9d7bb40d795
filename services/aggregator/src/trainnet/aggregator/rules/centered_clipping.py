"""Centered clipping (Karimireddy et al. 2020, arXiv:2012.10333)."""

from __future__ import annotations

import numpy as np

from trainnet.aggregator.rules.gram import Gram, Vector, distances, median, shortened


def centered_clipping(gram: Gram, radius: float, iterations: int) -> Vector:
    """Coefficients of a centre that begins at 0 and moves by the mean of the ways from it to the vectors, none of which
    counts longer than `radius` times the median one. The paper's radius is a length that somebody has to know; this one
    follows the updates as they shrink.
    """
    centre = clipped_once(distances(gram, np.zeros(len(gram))), radius)
    for _ in range(iterations - 1):
        ways = distances(gram, centre)
        shares = shortened(ways, radius * median(ways))
        centre = centre * (1.0 - shares.mean()) + shares / len(gram)
    return centre


def clipped_once(lengths: Vector, radius: float) -> Vector:
    """The coefficients after the first step, which follow from the lengths of the vectors."""
    return shortened(lengths, radius * median(lengths)) / len(lengths)
