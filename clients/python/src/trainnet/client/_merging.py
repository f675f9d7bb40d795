"""Merge policies as people say them."""

from __future__ import annotations

from collections.abc import Mapping

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

SETTINGS = ("server_learning_rate", "server_momentum", "beta1", "beta2", "epsilon")
"""The numbers that a strategy may have; which one has which says docs/merging.md, and the coordinator."""


def merge_policy(strategy: str, settings: Mapping[str, float], max_update_norm: float) -> job_pb2.MergePolicy:
    """Raises InvalidArgument for a strategy or a number that there is not."""
    if strategy not in STRATEGIES:
        hint = nearest(strategy, list(STRATEGIES), "the strategies are")
        raise _invalid("spec.merge.strategy", f"{strategy!r} is no merge strategy", hint)
    policy = job_pb2.MergePolicy(strategy=STRATEGIES[strategy], max_update_norm=max_update_norm)
    for name, value in settings.items():
        if name not in SETTINGS:
            hint = nearest(name, SETTINGS, "they are")
            raise _invalid(f"spec.merge.{name}", f"{name!r} is no number of a merge strategy", hint)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _invalid(f"spec.merge.{name}", f"{value!r} is no number", f"give one, for example {name}=0.5")
        setattr(policy, name, value)
    return policy


def parse_merge_settings(settings: list[str]) -> dict[str, float]:
    """NAME=VALUE texts as numbers. Raises InvalidArgument."""
    values = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        hint = "write it as server_learning_rate=0.5"
        if not name or not equals:
            raise _invalid("spec.merge", f"{setting!r} needs a name and a number", hint)
        try:
            values[name] = float(text)
        except ValueError:
            raise _invalid(f"spec.merge.{name}", f"{text!r} is no number", hint) from None
    return values


def strategy_of(policy: job_pb2.MergePolicy) -> str:
    """The name people use; UPPER_SNAKE for one that this client does not know."""
    number = policy.strategy or job_pb2.MERGE_STRATEGY_FEDAVG
    return next((name for name, strategy in STRATEGIES.items() if strategy == number), f"STRATEGY_{number}")


def settings_of(policy: job_pb2.MergePolicy) -> dict[str, float]:
    """The numbers of a strategy."""
    return {name: getattr(policy, name) for name in SETTINGS if policy.HasField(name)}


def _invalid(field: str, message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {message}", violations=(FieldViolation(field, message),), hint=hint)
