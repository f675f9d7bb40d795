"""Which plans may be asked of which data, and which of them are the same."""

from dataclasses import replace

import pytest

from trainnet.coordinator.domain.plans import BadPlan, Data, Plan, ShardKind, completed, identity

IID = Plan(ShardKind.IID, 2, 0.1, 1)
TABLE = Data(rows=100, classes=2)
TEXT = Data(rows=100, classes=0)
SPLIT = Data(rows=100, classes=2, split_column="split", split_holdout_rows=40)


@pytest.mark.parametrize(
    ("plan", "data"),
    [
        (IID, TABLE),
        (IID, TEXT),
        (IID, None),
        (replace(IID, kind=ShardKind.STRATIFIED), TABLE),
        (replace(IID, kind=ShardKind.DIRICHLET, alpha=0.001), TABLE),
        (replace(IID, kind=ShardKind.DIRICHLET, alpha=1000), TABLE),
        (replace(IID, shards=90), TABLE),
    ],
)
def test_a_plan_that_fits_stays_as_it_is(plan: Plan, data: Data | None) -> None:
    assert completed(plan, data) == plan


@pytest.mark.parametrize(
    ("fields", "data", "field", "message"),
    [
        ({"kind": ShardKind.DIRICHLET}, TABLE, "alpha", "need alpha from 0.001 to 1000: set it"),
        ({"kind": ShardKind.DIRICHLET, "alpha": 0.0001}, TABLE, "alpha", "need alpha from 0.001 to 1000"),
        ({"kind": ShardKind.DIRICHLET, "alpha": float("nan")}, TABLE, "alpha", "need alpha from 0.001 to 1000"),
        ({"alpha": 0.5}, TABLE, "alpha", "iid shards take no alpha"),
        ({"kind": ShardKind.STRATIFIED, "alpha": 0.5}, TABLE, "alpha", "stratified shards take no alpha"),
        ({"kind": ShardKind.STRATIFIED}, TEXT, "kind", "need a label with classes, these data have none: use iid"),
        ({"kind": ShardKind.DIRICHLET, "alpha": 1.0}, TEXT, "kind", "need a label with classes"),
        ({"kind": ShardKind.STRATIFIED}, None, "kind", "there are no data to make stratified shards of: use iid"),
        ({"shards": 91}, TABLE, "shards", "91 shards are more than the 90 rows to train on: use fewer"),
        (
            {"shards": 80_000, "kind": ShardKind.DIRICHLET, "alpha": 1.0},
            Data(rows=10**6, classes=300),
            "shards",
            "300 classes take at most 66666 dirichlet shards: use fewer",
        ),
        ({"shards": 61}, SPLIT, "shards", "61 shards are more than the 60 rows to train on"),
        ({}, replace(SPLIT, split_holdout_rows=100), "shards", "column split holds out every row"),
        ({}, Data(rows=1, classes=1), "holdout_fraction", "of 1 rows none is left to train on"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(
    fields: dict[str, object], data: Data | None, field: str, message: str
) -> None:
    with pytest.raises(BadPlan, match=message.replace(".", r"\.")) as raised:
        completed(replace(IID, **fields), data)  # type: ignore[arg-type]  # the cases know the types
    assert raised.value.field == field


def test_where_the_data_say_what_is_held_out_no_fraction_does() -> None:
    plans = [completed(replace(IID, holdout_fraction=fraction), SPLIT) for fraction in (0.0, 0.1, 0.9)]
    assert {plan.holdout_fraction for plan in plans} == {0.0}


def test_a_plan_is_known_by_all_that_its_shards_follow_from() -> None:
    known = identity("CSV", "sha256:1", b"schema", IID)
    assert known == identity("CSV", "sha256:1", b"schema", replace(IID))
    others = [
        identity("JSONL", "sha256:1", b"schema", IID),
        identity("CSV", "sha256:2", b"schema", IID),
        identity("CSV", "sha256:1", b"another", IID),
        *(
            identity("CSV", "sha256:1", b"schema", replace(IID, **change))
            for change in (
                {"kind": ShardKind.STRATIFIED},
                {"shards": 3},
                {"holdout_fraction": 0.2},
                {"seed": 2},
                {"alpha": 0.5},
            )
        ),
    ]
    assert len({known, *others}) == 1 + len(others)
