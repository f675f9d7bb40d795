"""Server optimisers for whoever verifies: an implementation of its own of services/aggregator/ARITHMETIC.md, "Server
optimisers", which shares no code with the aggregator's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import MergePolicy

Doubles = NDArray[np.float64]
Rule = Callable[[MergePolicy, Doubles, tuple[Doubles, ...]], tuple[Doubles, tuple[Doubles, ...]]]
"""(policy, bounded mean, state) -> (step, new state)."""

_LARGEST = float(np.finfo(np.float32).max)


def _momentum(policy: MergePolicy, mean: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, tuple[Doubles, ...]]:
    velocity = policy.server_momentum * state[0] + mean
    return velocity * policy.server_learning_rate, (velocity,)


def _nesterov(policy: MergePolicy, mean: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, tuple[Doubles, ...]]:
    velocity = policy.server_momentum * state[0] + mean
    ahead = velocity * policy.server_momentum + mean
    return ahead * policy.server_learning_rate, (velocity,)


def _adam(policy: MergePolicy, mean: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, tuple[Doubles, ...]]:
    first = policy.beta1 * state[0] + mean * (1.0 - policy.beta1)
    second = policy.beta2 * state[1] + mean * mean * (1.0 - policy.beta2)
    return _scaled(policy, first, second), (first, second)


def _yogi(policy: MergePolicy, mean: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, tuple[Doubles, ...]]:
    first = policy.beta1 * state[0] + mean * (1.0 - policy.beta1)
    second = state[1] - mean * mean * (1.0 - policy.beta2) * np.sign(state[1] - mean * mean)
    return _scaled(policy, first, second), (first, second)


def _adagrad(policy: MergePolicy, mean: Doubles, state: tuple[Doubles, ...]) -> tuple[Doubles, tuple[Doubles, ...]]:
    second = state[0] + mean * mean
    return _scaled(policy, mean, second), (second,)


def _scaled(policy: MergePolicy, first: Doubles, second: Doubles) -> Doubles:
    return first * policy.server_learning_rate / (np.sqrt(second) + policy.epsilon)


# The names of a state's numbers, those that begin at epsilon squared, and the rule.
_RULES: dict[job_pb2.MergeStrategy, tuple[tuple[str, ...], frozenset[str], Rule]] = {
    job_pb2.MERGE_STRATEGY_FEDAVGM: (("momentum",), frozenset(), _momentum),
    job_pb2.MERGE_STRATEGY_NESTEROV: (("momentum",), frozenset(), _nesterov),
    job_pb2.MERGE_STRATEGY_FEDADAM: (("first", "second"), frozenset({"second"}), _adam),
    job_pb2.MERGE_STRATEGY_FEDYOGI: (("first", "second"), frozenset({"second"}), _yogi),
    job_pb2.MERGE_STRATEGY_FEDADAGRAD: (("second",), frozenset({"second"}), _adagrad),
}

KNOWN = frozenset(_RULES) | {job_pb2.MERGE_STRATEGY_UNSPECIFIED, job_pb2.MERGE_STRATEGY_FEDAVG}
"""The strategies that can be verified."""


@dataclass(frozen=True)
class Optimizer:
    """The optimiser of a policy."""

    policy: MergePolicy

    @classmethod
    def of(cls, policy: MergePolicy) -> Optimizer | None:
        """None for a policy that adds the mean itself."""
        return cls(policy) if policy.strategy in _RULES else None

    @property
    def slots(self) -> tuple[str, ...]:
        return _RULES[self.policy.strategy][0]

    def header(self, elements: int) -> bytes:
        """The header of the state of so many elements, its length before it."""
        numbers = len(self.slots)
        text = (
            f'{{"__metadata__":{{"slots":"{",".join(self.slots)}"}},"state":{{"dtype":"F32",'
            f'"shape":[{elements},{numbers}],"data_offsets":[0,{4 * numbers * elements}]}}}}'
        ).encode()
        padded = text.ljust(-(-len(text) // 8) * 8)
        return len(padded).to_bytes(8, "little") + padded

    def initial(self, elements: int) -> bytes:
        """The states of so many elements before the first round."""
        begins_high = _RULES[self.policy.strategy][1]
        row = [self.policy.epsilon * self.policy.epsilon if name in begins_high else 0.0 for name in self.slots]
        return np.tile(np.array(row, "<f4"), elements).tobytes()

    def step(self, mean: Doubles, state: bytes | bytearray) -> tuple[Doubles, bytes]:
        """The steps of elements, and their new states, for their means and states."""
        rows = np.frombuffer(state, "<f4").reshape(-1, len(self.slots)).astype(np.float64)
        bounded = np.minimum(np.maximum(mean, -_LARGEST), _LARGEST)
        rule = _RULES[self.policy.strategy][2]
        step, moved = rule(self.policy, bounded, tuple(rows.T))
        stored = np.stack([np.minimum(np.maximum(values, -_LARGEST), _LARGEST) for values in moved], axis=1)
        return step, stored.astype("<f4").tobytes()
