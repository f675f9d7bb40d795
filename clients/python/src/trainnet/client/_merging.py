"""Merge policies as people say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainnet.client._errors import FieldViolation, InvalidArgument
from trainnet.client._nearest import nearest
from trainnet.v1 import job_pb2

STRATEGIES: dict[str, job_pb2.MergeStrategy] = {
    "fedavg": job_pb2.MERGE_STRATEGY_FEDAVG,
    "fedavgm": job_pb2.MERGE_STRATEGY_FEDAVGM,
    "diloco": job_pb2.MERGE_STRATEGY_NESTEROV,
    "fedadam": job_pb2.MERGE_STRATEGY_FEDADAM,
    "fedyogi": job_pb2.MERGE_STRATEGY_FEDYOGI,
    "fedadagrad": job_pb2.MERGE_STRATEGY_FEDADAGRAD,
}
"""By the name people use. `diloco` is Nesterov's momentum with the numbers of its paper, which are the defaults."""

RULES: dict[str, job_pb2.AggregationRule] = {
    "mean": job_pb2.AGGREGATION_RULE_MEAN,
    "median": job_pb2.AGGREGATION_RULE_MEDIAN,
    "trimmed_mean": job_pb2.AGGREGATION_RULE_TRIMMED_MEAN,
    "krum": job_pb2.AGGREGATION_RULE_KRUM,
    "geometric_median": job_pb2.AGGREGATION_RULE_GEOMETRIC_MEDIAN,
    "centered_clipping": job_pb2.AGGREGATION_RULE_CENTERED_CLIPPING,
}
"""What updates become before the strategy's step."""


@dataclass(frozen=True)
class Preset:
    """A strategy and a rule that go together."""

    strategy: str
    rule: str
    settings: Mapping[str, float] = field(default_factory=dict)


PRESETS = {"robust": Preset("fedavg", "centered_clipping", {"bucket_size": 2, "norm_clip": 3.0})}
"""`robust` is told of a fifth of harmful updates: of updates averaged in random pairs after the longest were shortened.
It lost two to three points to the worst attack in docs/robustness.md; a backdoor it does not stop."""

STRATEGY_SETTINGS = ("server_learning_rate", "server_momentum", "beta1", "beta2", "epsilon")
RULE_SETTINGS = ("byzantine", "bucket_size", "norm_clip", "keep", "clip_radius", "iterations")
SETTINGS = (*STRATEGY_SETTINGS, *RULE_SETTINGS)
"""The numbers that a strategy or a rule may have; which one has which says docs/merging.md, and the coordinator."""

_WHOLE = frozenset({"byzantine", "bucket_size", "keep", "iterations"})


def merge_policy(
    merge: str, settings: Mapping[str, float], max_update_norm: float, rule: str | None = None
) -> job_pb2.MergePolicy:
    """`merge` is a strategy or a preset. Raises InvalidArgument for a choice or a number that there is not."""
    chosen = PRESETS.get(merge)
    if chosen is None and merge not in STRATEGIES:
        hint = nearest(merge, [*STRATEGIES, *PRESETS], "the strategies are")
        if merge in RULES:
            hint = f"{merge} is a rule: say it as rule, beside the strategy (--rule {merge})"
        raise _invalid("spec.merge.strategy", f"{merge!r} is no merge strategy", hint)
    if rule is not None and rule not in RULES:
        raise _invalid("spec.merge.rule", f"{rule!r} is no rule", nearest(rule, list(RULES), "the rules are"))
    if chosen is not None and rule not in (None, chosen.rule):
        hint = f"leave the rule out, or take merge={chosen.strategy} with it"
        raise _invalid("spec.merge.rule", f"{merge} has the rule {chosen.rule}", hint)
    chosen = chosen or Preset(merge, rule or "mean")
    policy = job_pb2.MergePolicy(
        strategy=STRATEGIES[chosen.strategy], rule=RULES[chosen.rule], max_update_norm=max_update_norm
    )
    for name, value in {**chosen.settings, **settings}.items():
        if name not in SETTINGS:
            raise _invalid(
                f"spec.merge.{name}", f"{name!r} is no number of a merge", nearest(name, SETTINGS, "they are")
            )
        setattr(policy, name, number(f"spec.merge.{name}", name, value, whole=name in _WHOLE))
    return policy


def number(path: str, name: str, value: object, *, whole: bool) -> float:
    """A number that a field takes. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(path, f"{value!r} is no number", f"give one, for example {name}={2 if whole else 0.5}")
    if not whole:
        return value
    if value != value or int(value) != value or abs(value) >= 2**31:
        raise _invalid(path, f"{value!r} is no whole number", f"give one, for example {name}=2")
    return int(value)


def parse_numbers(settings: list[str], path: str, example: str) -> dict[str, float]:
    """NAME=VALUE texts as numbers. Raises InvalidArgument."""
    values = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        hint = f"write it as {example}"
        if not name or not equals:
            raise _invalid(path, f"{setting!r} needs a name and a number", hint)
        try:
            values[name] = float(text)
        except ValueError:
            raise _invalid(f"{path}.{name}", f"{text!r} is no number", hint) from None
    return values


def parse_merge_settings(settings: list[str]) -> dict[str, float]:
    """NAME=VALUE texts as numbers of a merge. Raises InvalidArgument."""
    return parse_numbers(settings, "spec.merge", "server_learning_rate=0.5")


def strategy_of(policy: job_pb2.MergePolicy) -> str:
    """The name people use; UPPER_SNAKE for one that this client does not know."""
    found = policy.strategy or job_pb2.MERGE_STRATEGY_FEDAVG
    return next((name for name, strategy in STRATEGIES.items() if strategy == found), f"STRATEGY_{found}")


def rule_of(policy: job_pb2.MergePolicy) -> str:
    """The name people use; UPPER_SNAKE for one that this client does not know."""
    found = policy.rule or job_pb2.AGGREGATION_RULE_MEAN
    return next((name for name, rule in RULES.items() if rule == found), f"RULE_{found}")


def strategy_settings_of(policy: job_pb2.MergePolicy) -> dict[str, float]:
    """The numbers of a strategy."""
    return {name: getattr(policy, name) for name in STRATEGY_SETTINGS if policy.HasField(name)}


def rule_settings_of(policy: job_pb2.MergePolicy) -> dict[str, float]:
    """The numbers of a rule."""
    return {name: getattr(policy, name) for name in RULE_SETTINGS if policy.HasField(name)}


def _invalid(path: str, message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"{path}: {message}", violations=(FieldViolation(path, message),), hint=hint)
