"""Coordinator, NATS and the object store are killed in mid-round; workers carry on where they were."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import Recipe, finish, merged, noop, until_phase, uploading
from tests.support.stacks import Stack, running
from tests.support.strike import catch, catch_training
from trainnet.client import Dataset, Job

pytestmark = pytest.mark.timeout(300)

TRAINING = Recipe("mlp", rounds=2, shards=2, epochs=240, settings=(("batch_size", 8),))
# Updates of 80 MB, so in two parts: an upload takes long enough to be hit.
LARGE = noop(20_000_000, rounds=1, shards=2)


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A lease that outlasts a restart of the coordinator even on a busy machine.
    settings = {"TRAINNET_LEASE_TTL": "20"}
    with running(tmp_path_factory.mktemp("servers"), workers=2, settings=settings) as stack:
        yield stack


@pytest.fixture(scope="module")
def undisturbed(running_stack: Stack, dataset: Dataset) -> list[str]:
    job = finish(running_stack, TRAINING.start(running_stack.client, dataset))
    assert_invariants(running_stack, job)
    return merged(job)


def caught_in_mid_round(stack: Stack, dataset: Dataset, child: str) -> tuple[Job, int]:
    """A job one of whose shards trains right now, and that shard's fence; `child` stands still."""
    job = TRAINING.start(stack.client, dataset)
    return job, catch_training(stack, job, child).fence


def assert_healed(stack: Stack, job: Job, undisturbed: list[str]) -> None:
    finish(stack, job)
    assert_invariants(stack, job)
    assert merged(job) == undisturbed


def test_the_coordinator_is_killed_while_leases_are_live(
    stack: Stack, dataset: Dataset, undisturbed: list[str]
) -> None:
    job, fence = caught_in_mid_round(stack, dataset, "coordinator")
    live = [item["fence"] for item in stack.rows.attempts(job.id, "TRAIN", "LEASED")]
    assert fence in live
    stack.local.kill("coordinator")

    assert_healed(stack, job, undisturbed)
    # It was back before the leases were over, so nobody lost a step: the same fences were completed.
    assert {stack.rows.attempt(item)["state"] for item in live} == {"DONE"}
    lost = stack.rows.all("SELECT round, shard FROM tasks WHERE job = ? AND (history <> '{}' OR failures > 0)", job.id)
    assert lost == []


def test_nats_is_killed_in_mid_round(stack: Stack, dataset: Dataset, undisturbed: list[str]) -> None:
    job, fence = caught_in_mid_round(stack, dataset, "nats")
    stack.local.kill("nats")

    assert_healed(stack, job, undisturbed)
    assert stack.rows.attempt(fence)["state"] == "DONE"


def test_the_store_of_nats_is_wiped(stack: Stack, dataset: Dataset, undisturbed: list[str]) -> None:
    job, fence = caught_in_mid_round(stack, dataset, "nats")
    stack.local.hold_down("nats")
    streams = stack.local.data_dir / "nats"
    assert any(streams.rglob("TRAINNET_EVENTS")), "the stream is not where this test would wipe it"
    for path in streams.rglob("jetstream"):
        shutil.rmtree(path)
    stack.local.bring_up("nats")
    assert not any(streams.rglob("TRAINNET_EVENTS"))

    assert_healed(stack, job, undisturbed)
    assert stack.rows.attempt(fence)["state"] == "DONE"


def test_the_object_store_is_killed_in_mid_round(stack: Stack, dataset: Dataset, undisturbed: list[str]) -> None:
    job, fence = caught_in_mid_round(stack, dataset, "store")
    stack.local.kill("store")

    assert_healed(stack, job, undisturbed)
    assert stack.rows.attempt(fence)["state"] == "DONE"


def test_the_object_store_is_killed_in_mid_upload(stack: Stack) -> None:
    job = LARGE.start(stack.client)
    upload = catch(stack, "store", lambda: uploading(stack, job), "an update is being uploaded")
    held = stack.rows.attempt(upload["fence"])
    assert (held["kind"], held["state"], held["task_state"]) == ("TRAIN", "LEASED", "LEASED")
    assert not upload["completed"]
    assert until_phase(job, upload["fence"], "UPLOADING").state == "LEASED"
    stack.local.kill("store")

    finish(stack, job)
    assert_invariants(stack, job)
