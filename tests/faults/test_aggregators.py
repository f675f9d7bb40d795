"""Aggregators keep nothing that they cannot recompute: killed while they check, killed while they merge, racing."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import finish, merged, noop, states
from tests.support.stacks import Stack, running
from tests.support.strike import catch, thaw
from tests.support.until import until
from trainnet.client import Job

pytestmark = pytest.mark.timeout(300)

# Updates of 20 MB: a check takes long enough to be hit, and a merge too.
MODEL = noop(5_000_000, rounds=2, shards=3)


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("aggregators"), workers=2, aggregators=2) as stack:
        yield stack


@pytest.fixture
def lone(stack: Stack) -> Iterator[Stack]:
    """The second aggregator is down: whatever one alone does not finish waits for it."""
    stack.local.hold_down("aggregator-2")
    yield stack
    stack.local.bring_up("aggregator-2")


@pytest.fixture(scope="module")
def undisturbed(running_stack: Stack) -> list[str]:
    job = finish(running_stack, MODEL.start(running_stack.client))
    assert_invariants(running_stack, job)
    return merged(job)


def claim(stack: Stack, job: Job, kind: str) -> dict[str, Any] | None:
    """A claim on a task of that kind that is being worked on right now."""
    held = stack.rows.attempts(job.id, kind, "LEASED")
    return held[0] if held else None


def test_the_aggregator_is_killed_while_it_checks(lone: Stack, undisturbed: list[str]) -> None:
    stack = lone
    job = MODEL.start(stack.client)
    held = catch(stack, "aggregator-1", lambda: claim(stack, job, "CHECK"), "an update is being checked")
    subject = stack.rows.attempt(held["subject"])
    assert (subject["kind"], subject["state"], subject["task_state"]) == ("TRAIN", "CHECKING", "CHECKING")
    assert stack.rows.round_state(job.id, held["round"]) == "OPEN"
    stack.local.kill("aggregator-1")

    finish(stack, job)
    assert stack.rows.attempt(held["fence"])["state"] == "EXPIRED"
    update = stack.rows.one("SELECT state FROM updates WHERE fence = ?", held["subject"])
    assert update == {"state": "ACCEPTED"}, "the shard need not be trained again when only its check was lost"
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def test_the_aggregator_is_killed_while_it_merges(lone: Stack, undisturbed: list[str]) -> None:
    stack = lone
    job = MODEL.start(stack.client)
    held = catch(stack, "aggregator-1", lambda: claim(stack, job, "MERGE"), "a round is being merged")
    assert held["task_state"] == "LEASED"
    assert stack.rows.round_state(job.id, held["round"]) == "MERGING"
    stack.local.kill("aggregator-1")

    finish(stack, job)
    assert stack.rows.attempt(held["fence"])["state"] == "EXPIRED"
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def test_the_aggregator_is_killed_while_it_merges_with_an_optimiser(lone: Stack) -> None:
    """In the second round, where there is a state to read and one to write: neither is lost, neither counts twice."""
    stack, model = lone, noop(5_000_000, rounds=3, shards=3, merge="diloco")
    undisturbed = finish(stack, model.start(stack.client))
    assert_invariants(stack, undisturbed)
    assert len(set(states(undisturbed))) == 3

    job = model.start(stack.client)
    held = catch(stack, "aggregator-1", lambda: _merge_of(stack, job, 2), "the second round is being merged")
    assert (held["round"], held["task_state"]) == (2, "LEASED")
    stack.local.kill("aggregator-1")

    finish(stack, job)
    assert stack.rows.attempt(held["fence"])["state"] == "EXPIRED"
    assert_invariants(stack, job)
    assert merged(job) == merged(undisturbed)
    assert states(job) == states(undisturbed)


def test_two_aggregators_race_on_one_merge(lone: Stack, undisturbed: list[str]) -> None:
    stack, slow = lone, "aggregator-1"
    job = MODEL.start(stack.client)
    held = catch(stack, slow, lambda: claim(stack, job, "MERGE"), "a round is being merged")
    assert held["holder"] == slow
    number = held["round"]
    assert stack.rows.round_state(job.id, number) == "MERGING"
    stack.local.bring_up("aggregator-2")
    other = until(lambda: _done_merge(stack, job, number), "the other aggregator merges the round")
    assert other["holder"] != slow
    assert stack.rows.attempt(held["fence"])["state"] == "EXPIRED"
    pointer = _pointer(stack, job, number)
    assert f"/merged/{other['fence']}/" in pointer["merged_key"]

    thaw(stack, slow)
    until(lambda: _refused(stack, slow, held["fence"]), f"the late merge of {slow} is refused")
    finish(stack, job)
    assert _pointer(stack, job, number) == pointer, "the late report moved the pointer"
    assert stack.rows.attempt(held["fence"])["state"] == "EXPIRED"
    # What the loser wrote, if it came that far, are the same bytes.
    for item in stack.store.list(f"jobs/{job.id}/rounds/{number}/merged/{held['fence']}/"):
        assert stack.store.stat(item.key).sha256 == stack.store.stat(pointer["merged_key"]).sha256
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def _merge_of(stack: Stack, job: Job, number: int) -> dict[str, Any] | None:
    held = claim(stack, job, "MERGE")
    return held if held is not None and held["round"] == number else None


def _done_merge(stack: Stack, job: Job, number: int) -> dict[str, Any] | None:
    return next((item for item in stack.rows.attempts(job.id, "MERGE", "DONE") if item["round"] == number), None)


def _pointer(stack: Stack, job: Job, number: int) -> dict[str, Any]:
    found = stack.rows.one(
        "SELECT state, merged_key, merged_digest, merged_sha256 FROM rounds WHERE job = ? AND number = ?",
        job.id,
        number,
    )
    assert found is not None
    assert found["state"] == "MERGED"
    return found


def _refused(stack: Stack, aggregator: str, fence: int) -> bool:
    words = ("report refused", "claim lost")
    return any(
        f'"fence": {fence}' in line and any(word in line for word in words)
        for line in stack.log(aggregator).splitlines()
    )
