"""Two coordinators share a PostgreSQL database; one is killed in mid-training, and its jobs end all the same."""

from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import Recipe, finish, until_training
from tests.support.postgres import PostgresServer
from tests.support.replicas import SECOND, TwoCoordinators
from tests.support.stacks import Stack, running
from tests.support.until import until
from trainnet.client import Client, Dataset, Job, JobState

pytestmark = pytest.mark.timeout(300)

# Long: one shard of a round is watched, and a fast core makes ten steps in a millisecond.
TRAINING = Recipe("mlp", rounds=2, shards=2, epochs=400, settings=(("batch_size", 8),))


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create("trainnet")
        yield server


@pytest.fixture(scope="module")
def running_stack(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("two")
    url = postgres.url("trainnet")
    settings = {"TRAINNET_LEASE_TTL": "5"}
    with running(folder, workers=2, database=url, kind=TwoCoordinators, settings=settings) as stack:
        yield stack


def training_on_the_second(stack: Stack, dataset: Dataset) -> tuple[Job, int]:
    """A job, and the fence of its shard that trains on the worker of the second coordinator right now."""
    local = cast("TwoCoordinators", stack.local)
    job = TRAINING.start(stack.client, dataset)
    with Client(local.second, local.endpoints.token) as second:
        # Live progress is told where the worker's session is.
        hit = until_training(second.jobs.get(job.name))
    assert stack.worker_of(hit.worker.removeprefix("workers/")) == "worker-1"
    return job, hit.fence


def watched_to_the_end(job: Job) -> None:
    states = [update.job.state for update in job.watch()]
    assert states[-1] is JobState.SUCCEEDED


def test_a_worker_goes_on_at_the_other_coordinator(stack: Stack, dataset: Dataset) -> None:
    job, fence = training_on_the_second(stack, dataset)
    stack.local.hold_down(SECOND)
    try:
        watched_to_the_end(job)
        assert stack.rows.attempt(fence)["state"] == "DONE", "the lease went on with its worker"
        assert_invariants(stack, finish(stack, job))
    finally:
        stack.local.bring_up(SECOND)


def test_leases_that_died_with_their_coordinator_expire_once(stack: Stack, dataset: Dataset) -> None:
    # The worker holds on to the coordinator that came back, or was never gone, before it is hit.
    stack.local.kill("worker-1")
    stack.wait_healthy()
    job, fence = training_on_the_second(stack, dataset)
    stack.local.hold_down("worker-1")
    stack.local.hold_down(SECOND)
    try:
        until(lambda: stack.rows.attempt(fence)["state"] == "EXPIRED", "the orphan expires")
        finish(stack, job)
        assert [item["fence"] for item in stack.rows.attempts(job.id, "TRAIN", "EXPIRED")] == [fence]
        assert_invariants(stack, job)
    finally:
        stack.local.bring_up(SECOND)
        stack.local.bring_up("worker-1")
