"""A seeded permutation of 0..n-1 that needs no memory: any row's rank is computed by itself.

A Feistel network over Z_a x Z_b with a * b just above n, walked along its cycle until it lands
below n (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", their generalised Feistel cipher).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4
_BLOCK = 1 << 14  # what fits into a core's cache with its intermediate results
_HALF = np.uint64(32)

Ranks = NDArray[np.uint64]


class Permutation:
    """A bijection of 0..n-1, fixed by (n, seed), for n up to 2^62."""

    def __init__(self, n: int, *seed: int) -> None:
        self._n = np.uint64(n)
        a = max(1, math.isqrt(max(n - 1, 0)) + 1)
        self._a, self._b = np.uint64(a), np.uint64(max(1, -(-n // a)))
        state = np.random.SeedSequence([*(part % 2**64 for part in seed), n])
        self._keys = state.generate_state(_ROUNDS, np.uint64)

    def ranks(self, indices: Ranks) -> Ranks:
        """The rank of each index, elementwise."""
        ranks = np.empty_like(indices)
        for start in range(0, len(indices), _BLOCK):
            block = self._network(indices[start : start + _BLOCK])
            outside = np.flatnonzero(block >= self._n)
            while len(outside):
                block[outside] = self._network(block[outside])
                outside = outside[block[outside] >= self._n]
            ranks[start : start + _BLOCK] = block
        return ranks

    def _network(self, values: Ranks) -> Ranks:
        left = values // self._b
        right = values - left * self._b
        for number, key in enumerate(self._keys):
            if number % 2:
                right = _plus(right, left ^ key, self._b)
            else:
                left = _plus(left, right ^ key, self._a)
        return left * self._b + right


def mix(values: Ranks) -> Ranks:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _plus(side: Ranks, other: Ranks, modulus: np.uint64) -> Ranks:
    """side + f(other) modulo the modulus, which is below 2^32: its product with 32 random bits is scaled down again."""
    total = side + (((mix(other) >> _HALF) * modulus) >> _HALF)
    # Below zero wraps around to something huge, so the lesser of both is the remainder.
    return np.minimum(total, total - modulus)
