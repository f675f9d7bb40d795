"""Workers are strangers: they die, they freeze, they come back too late."""

import time
from collections.abc import Iterator

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import Recipe, finish, merged, noop, until_training, uploading
from tests.support.late import answers_to
from tests.support.stacks import Stack, running
from tests.support.strike import catch_training, freeze, thaw
from tests.support.until import until
from trainnet.client import Dataset, JobState
from trainnet.v1 import worker_pb2

pytestmark = pytest.mark.timeout(300)

# A second or two of training for each shard: long enough to be hit in the middle.
TRAINING = Recipe("mlp", rounds=2, shards=3, epochs=240, settings=(("batch_size", 8),))


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("workers"), workers=3) as stack:
        yield stack


@pytest.fixture(scope="module")
def undisturbed(running_stack: Stack, dataset: Dataset) -> list[str]:
    """What comes out when nothing happens: the same must come out whatever happens."""
    job = finish(running_stack, TRAINING.start(running_stack.client, dataset))
    assert_invariants(running_stack, job)
    return merged(job)


def test_a_worker_is_killed_in_mid_shard(stack: Stack, dataset: Dataset, undisturbed: list[str]) -> None:
    job = TRAINING.start(stack.client, dataset)
    hit = catch_training(stack, job)
    stack.local.kill(stack.worker_of(hit.worker.removeprefix("workers/")))

    finish(stack, job)
    after = stack.rows.attempt(hit.fence)
    assert after["state"] == "EXPIRED", "the lease of a dead worker is not given to anybody"
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def test_a_frozen_worker_comes_back_too_late(stack: Stack, dataset: Dataset, undisturbed: list[str]) -> None:
    job = TRAINING.start(stack.client, dataset)
    hit = catch_training(stack, job)
    child = stack.worker_of(hit.worker.removeprefix("workers/"))

    def done_by_another() -> bool:
        shard = stack.rows.one(
            "SELECT fence FROM updates WHERE job = ? AND round = ? AND shard = ? AND state = 'ACCEPTED'",
            job.id,
            hit.round,
            hit.shard,
        )
        return shard is not None and shard["fence"] != hit.fence

    until(done_by_another, f"shard {hit.shard} is done by another worker")
    assert stack.rows.attempt(hit.fence)["state"] == "EXPIRED"
    thaw(stack, child)
    until(
        lambda: f'"fence": {hit.fence}' in _lines(stack, child, "task dropped"), f"{child} drops the shard that it lost"
    )

    finish(stack, job)
    assert stack.rows.attempt(hit.fence)["state"] == "EXPIRED"
    assert stack.rows.one("SELECT 1 FROM updates WHERE fence = ?", hit.fence) is None
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def test_whatever_is_said_about_a_stale_fence_is_refused(stack: Stack, dataset: Dataset) -> None:
    """The late worker's words one by one, from a session with its own token, against a job that is still running."""
    job = TRAINING.start(stack.client, dataset)
    hit = catch_training(stack, job)
    child = stack.worker_of(hit.worker.removeprefix("workers/"))
    stack.local.hold_down(child)
    try:
        until(lambda: stack.rows.attempt(hit.fence)["state"] == "EXPIRED", "the lease expires")
        assert stack.rows.job_state(job.id) == "RUNNING"
        contributions = stack.rows.all("SELECT * FROM contributions")
        answers = answers_to(stack, child, hit.fence)
        assert set(answers.values()) == {worker_pb2.OUTCOME_STALE_FENCE}, answers
        assert stack.rows.attempt(hit.fence)["state"] == "EXPIRED"
        now = stack.rows.all("SELECT * FROM contributions")
        assert [row for row in now if row["fence"] == hit.fence] == []
        assert now[: len(contributions)] == contributions
    finally:
        stack.local.bring_up(child)
    finish(stack, job)
    assert_invariants(stack, job)


def test_a_worker_is_killed_while_it_uploads(stack: Stack) -> None:
    # An update of 80 MB goes up in two parts, so what is there of it is no object yet.
    job = noop(20_000_000, rounds=1, shards=1).start(stack.client)
    upload = until(lambda: uploading(stack, job), "an update is being uploaded", every=0.001)
    fence = upload["fence"]
    child = stack.worker_of(stack.rows.attempt(fence)["holder"])
    freeze(stack, child)
    held = stack.rows.attempt(fence)
    assert (held["state"], held["task_state"]) == ("LEASED", "LEASED")
    assert uploading(stack, job) == upload
    stack.local.kill(child)

    finish(stack, job)
    assert stack.rows.attempt(fence)["state"] == "EXPIRED"
    assert_invariants(stack, job)


def test_a_frozen_coordinator_does_not_blame_its_workers(
    stack: Stack, dataset: Dataset, undisturbed: list[str]
) -> None:
    """Nobody could renew a lease while the coordinator stood still; it hears its workers before it judges them."""
    job = TRAINING.start(stack.client, dataset)
    hit = catch_training(stack, job, "coordinator")
    held = stack.rows.attempts(job.id, "TRAIN", "LEASED")
    assert hit.fence in [item["fence"] for item in held]
    last = max(item["expires"] for item in held)
    until(lambda: time.time() > last + 1, "every lease is over by the clock")
    thaw(stack, "coordinator")

    finish(stack, job)
    assert {stack.rows.attempt(item["fence"])["state"] for item in held} == {"DONE"}
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def test_a_cancelled_job_frees_its_workers_at_once(stack: Stack, dataset: Dataset) -> None:
    # Minutes of training, so that only a cancel can explain an early end.
    job = Recipe("mlp", rounds=2, shards=3, epochs=10_000, settings=(("batch_size", 1),)).start(stack.client, dataset)
    hit = until_training(job)
    assert stack.rows.attempt(hit.fence)["task_state"] == "LEASED"
    assert stack.rows.round_state(job.id, 1) == "OPEN"
    job.cancel()
    assert job.state is JobState.CANCELLED
    until(
        lambda: all(worker.online and worker.busy == 0 for worker in stack.client.workers.list()),
        "every worker is free",
        within=10,
    )
    next_job = finish(stack, Recipe("noop", rounds=1, shards=3).start(stack.client))
    assert_invariants(stack, next_job)
    assert_invariants(stack, job)
    assert stack.rows.job_state(job.id) == "CANCELLED"
    assert stack.rows.round_state(job.id, 1) == "CANCELLED"
    assert stack.rows.all("SELECT * FROM contributions WHERE job = ?", job.id) == []


def _lines(stack: Stack, child: str, event: str) -> str:
    return "\n".join(line for line in stack.log(child).splitlines() if event in line)
