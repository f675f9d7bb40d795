"""A model that its owner uploads is a base like any other, and stays as long as a job needs it."""

from pathlib import Path

import pytest

from tests.support.data import breast_cancer_csv
from tests.support.invariants import assert_invariants
from tests.support.jobs import finish
from tests.support.stacks import Stack
from trainnet.client import FailedPrecondition, NotFound


def test_training_goes_on_from_an_uploaded_model(stack: Stack, tmp_path: Path) -> None:
    dataset = stack.client.datasets.upload(breast_cancer_csv(tmp_path / "cells.csv"), name="cells").wait()
    first = finish(stack, stack.client.train(dataset, "mlp", rounds=2, shards=2, epochs=8))
    assert first.initial_metrics == {}

    folder = first.download(tmp_path / "model")
    model = stack.client.models.upload(folder / "model.safetensors", name="cells")
    assert stack.client.models.upload(folder / "model.safetensors", name="cells").name == model.name
    job = stack.client.train(dataset, "mlp", rounds=1, shards=2, base=model)
    with pytest.raises(FailedPrecondition, match="starts from: cancel that job first"):
        model.delete()
    finish(stack, job)
    assert_invariants(stack, job)
    # The same weights on the same rows, which the plan holds out for both jobs.
    assert job.initial_metrics["accuracy"] == first.metrics["accuracy"]

    model.delete()
    assert list(stack.store.list(f"{model.name}/")) == []
    with pytest.raises(NotFound):
        stack.client.train(dataset, "mlp", rounds=1, shards=2, base=model)
