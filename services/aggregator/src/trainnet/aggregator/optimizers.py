"""Server optimisers: what becomes of the mean of a round's updates before it is added to the weights.

Each is the arithmetic of its paper in fp64, in the order that ARITHMETIC.md fixes; the state it keeps from round to
round is fp32. `mean` is the direction in which the updates move the weights, the negative of the papers' gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainnet.aggregator.kernels import F32_MAX, Acc, Bytes, Scratch
from trainnet.aggregator.layout import Slice

BLOCK = 32 * 1024
"""Elements moved at a time: a step goes through several arrays, all of which are to stay in the cache."""

Rows = NDArray[np.float32]
"""States of elements that follow each other: a row for each, a column for each number that it consists of."""


class Optimizer(Protocol):
    """One step for each element by itself."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the numbers that a state consists of."""

    @property
    def initial(self) -> tuple[float, ...]:
        """The state before the first round."""

    def step(self, mean: Acc, rows: Rows, scratch: Scratch) -> None:
        """Turns finite means into steps and moves the states on, both in place."""


@dataclass(frozen=True)
class Momentum:
    """FedAvgM (Hsu et al. 2019, arXiv:1909.06335), or with `nesterov` the outer step of DiLoCo (arXiv:2311.08105)."""

    learning_rate: float
    momentum: float
    nesterov: bool

    slots = ("momentum",)
    initial = (0.0,)

    def step(self, mean: Acc, rows: Rows, scratch: Scratch) -> None:
        (moved,) = scratch.doubles_of(1, len(mean))
        np.multiply(rows[:, 0], self.momentum, out=moved, dtype=np.float64)
        np.add(moved, mean, out=moved)
        _keep(rows[:, 0], moved, scratch)
        if self.nesterov:
            np.multiply(moved, self.momentum, out=moved)
            np.add(moved, mean, out=moved)
        np.multiply(moved, self.learning_rate, out=mean)


@dataclass(frozen=True)
class Adaptive:
    """FedAdam, or with `yogi` FedYogi (Reddi et al. 2021, arXiv:2003.00295)."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    yogi: bool

    slots = ("first", "second")

    @property
    def initial(self) -> tuple[float, ...]:
        return (0.0, self.epsilon * self.epsilon)

    def step(self, mean: Acc, rows: Rows, scratch: Scratch) -> None:
        first, second, square = scratch.doubles_of(3, len(mean))
        np.multiply(mean, mean, out=square)
        if self.yogi:
            # The sign of a difference is 0 exactly where both are equal: gradual underflow sees to it.
            np.subtract(rows[:, 1], square, out=second, dtype=np.float64)
            np.sign(second, out=second)
            np.multiply(square, 1.0 - self.beta2, out=square)
            np.multiply(square, second, out=square)
            np.subtract(rows[:, 1], square, out=second, dtype=np.float64)
        else:
            np.multiply(rows[:, 1], self.beta2, out=second, dtype=np.float64)
            np.multiply(square, 1.0 - self.beta2, out=square)
            np.add(second, square, out=second)
        np.multiply(rows[:, 0], self.beta1, out=first, dtype=np.float64)
        np.multiply(mean, 1.0 - self.beta1, out=mean)
        np.add(first, mean, out=first)
        _keep(rows[:, 0], first, scratch)
        _keep(rows[:, 1], second, scratch)
        _divided(first, second, self.learning_rate, self.epsilon, out=mean)


@dataclass(frozen=True)
class Adagrad:
    """FedAdagrad (Reddi et al. 2021, arXiv:2003.00295) with beta1 = 0, as the paper runs it."""

    learning_rate: float
    epsilon: float

    slots = ("second",)

    @property
    def initial(self) -> tuple[float, ...]:
        return (self.epsilon * self.epsilon,)

    def step(self, mean: Acc, rows: Rows, scratch: Scratch) -> None:
        (second,) = scratch.doubles_of(1, len(mean))
        np.multiply(mean, mean, out=second)
        np.add(rows[:, 0], second, out=second, dtype=np.float64)
        _keep(rows[:, 0], second, scratch)
        _divided(mean, second, self.learning_rate, self.epsilon, out=mean)


def advance(acc: Acc, state: Bytes, where: Slice, total: float | None, optimizer: Optimizer, scratch: Scratch) -> None:
    """acc = the optimiser's step for acc / total, the mean; where an element has no state, the mean itself. `total` is
    None where `acc` holds what to step by already. `state`, the states of the slice, moves on in place."""
    rows, block = state.view("<f4").reshape(-1, len(optimizer.slots)), min(BLOCK, scratch.block)
    with np.errstate(all="ignore"):
        for piece in where.pieces:
            for begin in range(0, piece.count, block):
                mean = acc[piece.first + begin : piece.first + min(begin + block, piece.count)]
                if total is not None:
                    np.divide(mean, total, out=mean)
                if piece.state >= 0:
                    np.clip(mean, -F32_MAX, F32_MAX, out=mean)
                    optimizer.step(mean, rows[piece.state + begin :][: len(mean)], scratch)


def set_initial(state: Bytes, optimizer: Optimizer) -> None:
    """Makes states what they are before the first round."""
    state.view("<f4").reshape(-1, len(optimizer.slots))[:] = optimizer.initial


def _keep(column: NDArray[Any], values: Acc, scratch: Scratch) -> None:
    """Rounds to the stored state once; what is too large for it becomes the largest, so that no state is infinite."""
    bounded = scratch.doubles[: len(values)]
    np.clip(values, -F32_MAX, F32_MAX, out=bounded)
    np.copyto(column, bounded, casting="same_kind")


def _divided(first: Acc, second: Acc, learning_rate: float, epsilon: float, *, out: Acc) -> None:
    """out = learning_rate x first / (sqrt(second) + epsilon); `second` is used up."""
    np.sqrt(second, out=second)
    np.add(second, epsilon, out=second)
    np.multiply(first, learning_rate, out=out)
    np.divide(out, second, out=out)
