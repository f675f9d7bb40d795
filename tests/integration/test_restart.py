"""The data folder is all there is: a stack that is stopped, or killed as a whole, goes on where it was."""

from pathlib import Path

import pytest

from tests.support.data import breast_cancer_csv
from tests.support.invariants import assert_invariants
from tests.support.jobs import Recipe, finish
from tests.support.stacks import running
from tests.support.strike import catch_training
from trainnet.client import JobState

TRAINING = Recipe("mlp", rounds=3, shards=2, epochs=240, settings=(("batch_size", 8),))


@pytest.mark.timeout(240)
def test_a_running_job_goes_on_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path / "data", workers=2, graceful=True) as stack:
        dataset = stack.client.datasets.upload(breast_cancer_csv(tmp_path / "cells.csv")).wait(timeout=60)
        job = TRAINING.start(stack.client, dataset)
        catch_training(stack, job, "coordinator")
        name = job.name
    with running(tmp_path / "data", workers=2) as stack:
        job = stack.client.jobs.get(name)
        assert job.state is JobState.RUNNING
        catch_training(stack, job, "coordinator")
        stack.local.kill_all()
    with running(tmp_path / "data", workers=2) as stack:
        job = stack.client.jobs.get(name)
        assert job.state is JobState.RUNNING
        finish(stack, job)
        assert_invariants(stack, job)
