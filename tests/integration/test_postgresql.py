"""A whole stack whose coordinator keeps its state in PostgreSQL, which is killed in mid-training."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.data import breast_cancer_csv
from tests.support.invariants import assert_invariants
from tests.support.jobs import Recipe, finish, until_training
from tests.support.postgres import PostgresServer
from tests.support.stacks import running

TRAINING = Recipe("mlp", rounds=2, shards=2, epochs=180, settings=(("batch_size", 8),))


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create("trainnet")
        yield server


@pytest.mark.timeout(240)
def test_a_job_succeeds_over_a_kill_of_the_database(postgres: PostgresServer, tmp_path: Path) -> None:
    with running(tmp_path / "data", workers=2, database=postgres.url("trainnet")) as stack:
        dataset = stack.client.datasets.upload(breast_cancer_csv(tmp_path / "cells.csv")).wait(timeout=60)
        job = TRAINING.start(stack.client, dataset)
        until_training(job)
        postgres.kill()
        postgres.start()
        finish(stack, job)
        assert_invariants(stack, job)
        assert stack.local.runs("coordinator") == 1, "it outlived its database"
        assert not (tmp_path / "data" / "coordinator.db").exists()
