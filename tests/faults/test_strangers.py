"""Strangers who take the work of a public job and never do it: the job goes on without them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import finish
from tests.support.stacks import Stack, running
from tests.support.stranger import Stranger
from trainnet.client import JobState


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("strangers"), workers=1) as stack:
        yield stack


def test_a_crowd_of_strangers_cannot_fail_a_public_job(stack: Stack) -> None:
    """One trusted worker against six strangers, three of whom were enough to give a shard up."""
    stack.wait_healthy()
    with ExitStack() as crowd:
        ways = ("fails", "fails", "fails", "returns", "vanishes", "vanishes")
        strangers = [crowd.enter_context(Stranger(stack, how)) for how in ways]
        job = stack.client.train(None, "noop", rounds=4, shards=4, hyperparameters={"params": 1000}, pool="public")
        finish(stack, job)
        spoiled = [stranger.spoiled for stranger in strangers]
    assert job.state is JobState.SUCCEEDED
    assert sum(spoiled) > 0, "the strangers never got any work"
    assert stack.rows.all("SELECT * FROM tasks WHERE state = 'QUARANTINED'") == []
    failed = stack.rows.all(
        "SELECT task, holder FROM attempts JOIN workers ON workers.id = holder"
        " WHERE attempts.state = 'FAILED' AND workers.pool = 'PUBLIC'"
    )
    assert len({(row["task"], row["holder"]) for row in failed}) == len(failed), (
        "nobody got a task again that it failed"
    )
    assert_invariants(stack, job)
