"""A seeded permutation of 0..n-1 that needs no memory: any row's rank is computed by itself.

A balanced Feistel network over the next even power of two, walked along its cycle until it lands below n (Black and
Rogaway 2002, "Ciphers with arbitrary finite domains").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8


class Permutation:
    """A bijection of 0..n-1, fixed by (n, seed)."""

    def __init__(self, n: int, seed: int) -> None:
        self._n = np.uint64(n)
        half = max(1, -(-max(n - 1, 1).bit_length() // 2))
        self._half = np.uint64(half)
        self._mask = np.uint64((1 << half) - 1)
        state = np.random.SeedSequence([seed % 2**64, n])
        self._keys = state.generate_state(_ROUNDS, np.uint64)

    def ranks(self, indices: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The rank of each index, elementwise."""
        ranks = self._network(indices)
        outside = np.flatnonzero(ranks >= self._n)
        while len(outside):
            ranks[outside] = self._network(ranks[outside])
            outside = outside[ranks[outside] >= self._n]
        return ranks

    def _network(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & self._mask)
        return (left << self._half) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
