"""A policy of every strategy, with numbers that differ from the defaults, so that a forgotten one shows."""

from __future__ import annotations

from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import MergePolicy

POLICIES = {
    "fedavgm": MergePolicy(strategy=job_pb2.MERGE_STRATEGY_FEDAVGM, server_learning_rate=0.9, server_momentum=0.8),
    "diloco": MergePolicy(strategy=job_pb2.MERGE_STRATEGY_NESTEROV, server_learning_rate=0.7, server_momentum=0.9),
    "fedadam": MergePolicy(
        strategy=job_pb2.MERGE_STRATEGY_FEDADAM, server_learning_rate=0.03, beta1=0.85, beta2=0.95, epsilon=0.01
    ),
    "fedyogi": MergePolicy(
        strategy=job_pb2.MERGE_STRATEGY_FEDYOGI, server_learning_rate=0.03, beta1=0.85, beta2=0.95, epsilon=0.01
    ),
    "fedadagrad": MergePolicy(strategy=job_pb2.MERGE_STRATEGY_FEDADAGRAD, server_learning_rate=0.05, epsilon=0.02),
}


def _rule(name: str, **numbers: float) -> MergePolicy:
    policy = MergePolicy(rule=f"AGGREGATION_RULE_{name}")
    for number, value in numbers.items():
        setattr(policy, number, value)
    return policy


def robust(rule: str, byzantine: int, *, bucket_size: int = 1, norm_clip: float = 0.0, keep: int = 2) -> MergePolicy:
    """A policy of a rule, with numbers that differ from the defaults."""
    shared = {"byzantine": byzantine, "bucket_size": bucket_size, "norm_clip": norm_clip}
    own: dict[str, float] = {}
    match rule:
        case "mean":
            return _rule("MEAN", norm_clip=norm_clip or 1.5)
        case "krum":
            own = {"keep": keep}
        case "geometric_median":
            own = {"iterations": 6}
        case "centered_clipping":
            own = {"iterations": 4, "clip_radius": 0.9}
        case "one_step":
            return _rule("CENTERED_CLIPPING", **shared, iterations=1, clip_radius=0.8)
    return _rule(rule.upper(), **shared, **own)


RULES = ("mean", "median", "trimmed_mean", "krum", "geometric_median", "centered_clipping", "one_step")
"""All of them; `mean` only with a norm clip, else it is no rule of its own; `one_step` is a centered clipping that
looks at lengths alone."""
