"""Shard plans: what may be asked of which data, and what makes two plans the same."""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

MIN_ALPHA, MAX_ALPHA = 0.001, 1000.0
MAX_SHARES = 20_000_000
"""Shares that a worker draws for Dirichlet shards: one for each class and shard."""


class ShardKind(StrEnum):
    IID = "IID"
    STRATIFIED = "STRATIFIED"
    DIRICHLET = "DIRICHLET"


class BadPlan(ValueError):
    """A plan that cannot be carried out; `field` says what is wrong with it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Plan:
    kind: ShardKind
    shards: int
    holdout_fraction: float
    seed: int
    alpha: float = 0.0


@dataclass(frozen=True)
class Data:
    """What a plan must know of the data that it cuts."""

    rows: int
    classes: int
    split_column: str = ""
    split_holdout_rows: int = 0


def completed(plan: Plan, data: Data | None) -> Plan:
    """The plan without what changes nothing, so that the same cut is asked for in the same words; `data` is None where
    there is nothing to cut. Raises BadPlan."""
    if plan.kind is ShardKind.DIRICHLET:
        if not MIN_ALPHA <= plan.alpha <= MAX_ALPHA:
            raise BadPlan("alpha", f"dirichlet shards need alpha from {MIN_ALPHA:g} to {MAX_ALPHA:g}: set it")
    elif plan.alpha:
        raise BadPlan("alpha", f"{plan.kind.lower()} shards take no alpha: leave it out, or ask for dirichlet shards")
    if data is None:
        if plan.kind is not ShardKind.IID:
            raise BadPlan("kind", f"there are no data to make {plan.kind.lower()} shards of: use iid")
        return plan
    if plan.kind is not ShardKind.IID and not data.classes:
        raise BadPlan("kind", f"{plan.kind.lower()} shards need a label with classes, these data have none: use iid")
    if data.split_column:
        plan = replace(plan, holdout_fraction=0.0)
    left = data.rows - _held_out(plan, data)
    if left < 1:
        if data.split_column:
            raise BadPlan("shards", f"column {data.split_column} holds out every row: name another split_column")
        raise BadPlan("holdout_fraction", f"of {data.rows} rows none is left to train on: hold out fewer")
    if plan.shards > left:
        raise BadPlan("shards", f"{plan.shards} shards are more than the {left} rows to train on: use fewer")
    if plan.kind is ShardKind.DIRICHLET and plan.shards * data.classes > MAX_SHARES:
        most = MAX_SHARES // data.classes
        raise BadPlan("shards", f"{data.classes} classes take at most {most} dirichlet shards: use fewer")
    return plan


def _held_out(plan: Plan, data: Data) -> int:
    """Rows that are not trained on, to within a row for each class."""
    if data.split_column:
        return data.split_holdout_rows
    return max(1, round(data.rows * plan.holdout_fraction)) if plan.holdout_fraction else 0


def identity(data_format: str, source_digest: str, schema: bytes, plan: Plan) -> str:
    """The same bytes, read and understood alike and cut the same way, are the same shards, whoever asks for them."""
    cut = f"{plan.kind} {plan.shards} {plan.holdout_fraction!r} {plan.seed} {plan.alpha!r}"
    facts = f"{data_format}\n{source_digest}\n{hashlib.sha256(schema).hexdigest()}\n{cut}"
    return hashlib.sha256(facts.encode()).hexdigest()
