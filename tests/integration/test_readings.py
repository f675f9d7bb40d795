"""Data sets read as their owner says, cut by classes, shared by twins: with real workers and a real store."""

import random
from pathlib import Path

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import finish
from tests.support.stacks import Stack
from trainnet.client import Dataset, InvalidArgument, JobState

ROWS = 240
HELD_OUT = 60
PREPARED = "SELECT count(*) AS number FROM tasks WHERE kind = 'PREPARE'"


@pytest.fixture
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three classes of different size in `sort`, 1 to 3 in `grade`, which looks like a number, and a split; each test
    has numbers of its own."""
    source = random.Random(request.node.name)
    rows = []
    for number in range(ROWS):
        sort = "ant" if number % 8 < 5 else "bee" if number % 8 < 7 else "cow"
        centre = ("ant", "bee", "cow").index(sort)
        where = "test" if number % 4 == 0 else "train"
        x, y = source.gauss(3 * centre, 1), source.gauss(-centre, 1)
        rows.append(f"{x:.3f},{y:.3f},{sort},{1 + number % 3},{where}")
    path = tmp_path / "animals.csv"
    path.write_text("x,y,sort,grade,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def shard_rows(stack: Stack, dataset: Dataset, **plan: object) -> list[int]:
    """Rows of each shard of a finished job."""
    job = stack.client.train(dataset, "mlp", rounds=1, shards=3, seed=1, **plan)  # type: ignore[arg-type]  # as they are
    assert finish(stack, job).state == JobState.SUCCEEDED
    assert_invariants(stack, job)
    return [entry.examples for entry in job.rounds[0].manifest]


def test_a_table_is_read_again_and_cut_by_its_classes(stack: Stack, table: Path) -> None:
    dataset = stack.client.datasets.upload(table, label="grade").wait()
    assert dataset.schema is not None
    assert dataset.schema.rows == ROWS

    with pytest.raises(InvalidArgument, match="there is no column srt: did you mean sort"):
        dataset.update(label="srt")
    dataset.update(label="sort", kinds={"grade": "categorical"}).wait()
    assert dataset.label == "sort"
    assert dataset.profile is not None

    stratified = shard_rows(stack, dataset, split="stratified")
    assert sum(stratified) == ROWS - HELD_OUT
    assert max(stratified) - min(stratified) <= 3
    uneven = shard_rows(stack, dataset, split="dirichlet", alpha=0.3)
    assert sum(uneven) == ROWS - HELD_OUT
    assert max(uneven) - min(uneven) > 3

    # Which rows are held out the data say: another fraction is no other plan.
    before = stack.rows.one(PREPARED)
    assert shard_rows(stack, dataset, split="stratified", holdout=0.5) == stratified
    assert stack.rows.one(PREPARED) == before


def test_a_twin_trains_on_with_the_shards_of_a_data_set_that_is_gone(stack: Stack, table: Path) -> None:
    first = stack.client.datasets.upload(table, label="sort", name="first").wait()
    cut = shard_rows(stack, first)
    before = stack.rows.one(PREPARED)
    second = stack.client.datasets.upload(table, label="sort", name="second").wait()
    assert second.name != first.name
    assert shard_rows(stack, second) == cut
    assert stack.rows.one(PREPARED) == before

    first.delete()
    assert shard_rows(stack, second, epochs=2) == cut
    plans = {key.split("/")[1] for key in (item.key for item in stack.store.list("plans/"))}
    second.delete()
    left = {key.split("/")[1] for key in (item.key for item in stack.store.list("plans/"))}
    assert len(plans - left) == 1
    assert list(stack.store.list(f"{first.name}/")) == list(stack.store.list(f"{second.name}/")) == []
