"""Everything dies again and again while jobs run: the order comes from a fixed seed, the moments from the machine."""

import random
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.support.data import breast_cancer_csv
from tests.support.invariants import assert_invariants
from tests.support.jobs import Recipe, finish, merged, noop
from tests.support.stacks import Stack, running

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

SEED = 20261122
TRAINING = Recipe("mlp", rounds=8, shards=3, epochs=60, settings=(("batch_size", 8),))
LARGE = noop(5_000_000, rounds=8, shards=3)
BLOWS = 25


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("chaos"), workers=3, aggregators=2) as stack:
        yield stack


def test_the_coordinator_is_killed_again_and_again(stack: Stack) -> None:
    calm = finish(stack, LARGE.start(stack.client))
    job = LARGE.start(stack.client)
    deaths = 0
    while stack.rows.job_state(job.id) not in ("SUCCEEDED", "FAILED"):
        stack.local.wait_ready("coordinator")
        # Up long enough to take in what workers have for it, another while each time.
        _pause(random.Random(SEED + deaths).uniform(1.0, 4.0))
        if stack.rows.job_state(job.id) != "SUCCEEDED":
            stack.local.kill("coordinator")
            deaths += 1
    assert deaths >= 3
    stack.wait_healthy()
    finish(stack, job)
    assert_invariants(stack, job)
    assert merged(job) == merged(calm)


def test_everything_is_killed_in_turn(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    dataset = stack.client.datasets.upload(breast_cancer_csv(tmp_path_factory.mktemp("data") / "cells.csv"))
    dataset.wait(timeout=60)
    calm = [finish(stack, TRAINING.start(stack.client, dataset)), finish(stack, LARGE.start(stack.client))]
    jobs = [TRAINING.start(stack.client, dataset), LARGE.start(stack.client)]
    dice = random.Random(SEED)
    for _ in range(BLOWS):
        child = dice.choice(stack.local.names)
        stack.local.wait_ready(child)
        if dice.random() < 0.3:
            stack.local.kill(child, signal.SIGSTOP, group=True)
            _pause(dice.uniform(0.5, 5.0))
            stack.local.kill(child, signal.SIGCONT, group=True)
        else:
            stack.local.kill(child)
        _pause(dice.uniform(0.0, 2.0))
    stack.wait_healthy()
    for job in jobs:
        finish(stack, job)
    for job, undisturbed in zip(jobs, calm, strict=True):
        assert_invariants(stack, job)
        assert merged(job) == merged(undisturbed)


def _pause(seconds: float) -> None:
    """Between blows; nothing is waited for."""
    threading.Event().wait(seconds)
