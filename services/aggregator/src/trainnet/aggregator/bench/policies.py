"""Policies to measure, by the names of the contract in small letters, with numbers as jobs have them."""

from __future__ import annotations

from trainnet.v1.job_pb2 import AggregationRule, MergePolicy, MergeStrategy


def strategies() -> list[str]:
    """Names of merge strategies."""
    return _names(list(MergeStrategy.DESCRIPTOR.values_by_name), "MERGE_STRATEGY_")


def rules() -> list[str]:
    """Names of rules."""
    return _names(list(AggregationRule.DESCRIPTOR.values_by_name), "AGGREGATION_RULE_")


def policy_of(strategy: str, rule: str, updates: int) -> MergePolicy:
    """A whole policy for rounds of so many updates: a fifth of them may do harm, the other numbers of a rule are those
    that a job has where its owner says nothing."""
    byzantine = min(updates // 5, (updates - 3) // 2 if rule == "krum" else (updates - 1) // 2)
    return MergePolicy(
        strategy=f"MERGE_STRATEGY_{strategy.upper()}",
        server_learning_rate=0.1,
        server_momentum=0.9,
        beta1=0.9,
        beta2=0.99,
        epsilon=1e-3,
        rule=f"AGGREGATION_RULE_{rule.upper()}",
        byzantine=byzantine,
        bucket_size=1,
        keep=max(1, updates - byzantine - 2),
        clip_radius=3.0,
        iterations=8 if rule == "geometric_median" else 1,
    )


def _names(found: list[str], prefix: str) -> list[str]:
    return [name.removeprefix(prefix).lower() for name in found if not name.endswith("_UNSPECIFIED")]
