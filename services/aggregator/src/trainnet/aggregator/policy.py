"""What a job's policy asks of its merges: the one place where strategies are told apart."""

from __future__ import annotations

from collections.abc import Callable

from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.optimizers import Adagrad, Adaptive, Momentum, Optimizer
from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import MergePolicy, MergeStrategy


def _momentum(policy: MergePolicy) -> Optimizer:
    nesterov = policy.strategy == job_pb2.MERGE_STRATEGY_NESTEROV
    return Momentum(policy.server_learning_rate, policy.server_momentum, nesterov)


def _adaptive(policy: MergePolicy) -> Optimizer:
    yogi = policy.strategy == job_pb2.MERGE_STRATEGY_FEDYOGI
    return Adaptive(policy.server_learning_rate, policy.beta1, policy.beta2, policy.epsilon, yogi)


def _adagrad(policy: MergePolicy) -> Optimizer:
    return Adagrad(policy.server_learning_rate, policy.epsilon)


# What makes the optimiser of a strategy, and the numbers that it needs; what adds the mean as it is has none.
_MOMENTUM = ("server_learning_rate", "server_momentum")
_ADAPTIVE = ("server_learning_rate", "beta1", "beta2", "epsilon")
_STRATEGIES: dict[MergeStrategy, tuple[Callable[[MergePolicy], Optimizer], tuple[str, ...]] | None] = {
    job_pb2.MERGE_STRATEGY_UNSPECIFIED: None,
    job_pb2.MERGE_STRATEGY_FEDAVG: None,
    job_pb2.MERGE_STRATEGY_FEDAVGM: (_momentum, _MOMENTUM),
    job_pb2.MERGE_STRATEGY_NESTEROV: (_momentum, _MOMENTUM),
    job_pb2.MERGE_STRATEGY_FEDADAM: (_adaptive, _ADAPTIVE),
    job_pb2.MERGE_STRATEGY_FEDYOGI: (_adaptive, _ADAPTIVE),
    job_pb2.MERGE_STRATEGY_FEDADAGRAD: (_adagrad, ("server_learning_rate", "epsilon")),
}


def optimizer_of(policy: MergePolicy) -> Optimizer | None:
    """The server's optimiser; None where the mean itself is added. Raises Unmergeable for a policy that this aggregator
    does not know: merging it by another one would be wrong silently."""
    if policy.strategy not in _STRATEGIES:
        raise Unmergeable(f"this aggregator knows no merge strategy {policy.strategy}: bring it up to date")
    found = _STRATEGIES[policy.strategy]
    if found is None:
        return None
    make, needed = found
    missing = [name for name in needed if not policy.HasField(name)]
    if missing:
        raise Unmergeable(f"the policy does not say {', '.join(missing)}")
    return make(policy)
