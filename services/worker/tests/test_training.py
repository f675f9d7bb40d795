from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from trainnet.v1.dataset_pb2 import (
    DataSchema,
    ImageShape,
)
from trainnet.v1.task_pb2 import (
    TASK_PHASE_LOADING,
    TASK_PHASE_RUNNING,
    EvaluateSpec,
    InitializeSpec,
    ModelSpec,
    TaskSpec,
    TrainSpec,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.files import HashedFile
from trainnet.worker.trainer.models import build_model
from trainnet.worker.trainer.weights import read_map, read_weights, write_weights

Model = Callable[..., ModelSpec]


class Job:
    """A prepared data set and initial weights."""

    def __init__(self, tasks: Any, path: Path, model_of: Model, architecture: str, **changes: Any) -> None:
        self.tasks = tasks
        schema, _, self.shards = tasks.prepare(path, shards=2)
        self.model = model_of(architecture, schema, **changes)
        _, outputs = tasks.run(TaskSpec(initialize=InitializeSpec(model=self.model, seed=3)))
        self.base = outputs["base"].path

    def train(self, *, epochs: int = 2, seed: int = 5, base: Path | None = None) -> tuple[Any, Any]:
        spec = TrainSpec(model=self.model, epochs=epochs, seed=seed, round=1)
        spec.shard.digest = "sha256:" + self.shards["shard-0"].part_sha256[0].hex()
        result, outputs = self.tasks.run(
            TaskSpec(train=spec), base=base or self.base, shard=self.shards["shard-0"].path
        )
        return result, outputs["update"]

    def evaluate(self, weights: Path) -> dict[str, float]:
        spec = EvaluateSpec(model=self.model)
        spec.holdout.digest = "sha256:" + self.shards["holdout"].part_sha256[0].hex()
        result, _ = self.tasks.run(TaskSpec(evaluate=spec), weights=weights, holdout=self.shards["holdout"].path)
        return dict(result.metrics)

    def add(self, update: Path, path: Path) -> Path:
        base, delta = read_weights(self.base), read_weights(update)
        return write_weights("base", path, {name: base[name] + delta[name] for name in base}).path


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_training_learns_and_repeats_to_the_byte(
    tasks: Any, model_of: Model, iris_csv: Path, digits_parquet: Path, tmp_path: Path, architecture: str
) -> None:
    path, dropout = (iris_csv, {"dropout": 0.1}) if architecture == "mlp" else (digits_parquet, {})
    job = Job(tasks, path, model_of, architecture, **dropout)
    result, first = job.train(epochs=8)
    _, second = job.train(epochs=8)
    _, other = job.train(epochs=8, seed=6)
    assert first.part_sha256 == second.part_sha256
    assert first.part_sha256 != other.part_sha256
    assert first.part_sha256 == (hashlib.sha256(first.path.read_bytes()).digest(),)
    assert result.metrics["loss"] < 0.7
    assert result.metrics["examples"] == (60 if architecture == "mlp" else 719)
    before, after = job.evaluate(job.base), job.evaluate(job.add(first.path, tmp_path / "trained"))
    assert after["accuracy"] > max(0.75, before["accuracy"])
    assert after["loss"] < before["loss"]


def test_an_update_has_the_tensor_map_of_its_base(tasks: Any, model_of: Model, iris_csv: Path) -> None:
    job = Job(tasks, iris_csv, model_of, "mlp")
    _, update = job.train()
    assert read_map(update.path).tensors == read_map(job.base).tensors
    # In the base's order, whatever that is.
    weights = read_weights(job.base)
    reversed_base = write_weights("base", job.base.with_name("reversed"), dict(reversed(list(weights.items())))).path
    _, again = job.train(base=reversed_base)
    assert read_map(again.path).tensors == read_map(reversed_base).tensors
    loaded = safetensors.torch.load_file(again.path)
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in read_weights(update.path).items())


def test_progress_tells_the_first_and_the_last_step(tasks: Any, model_of: Model, iris_csv: Path) -> None:
    job = Job(tasks, iris_csv, model_of, "mlp")
    job.train(epochs=3)
    assert tasks.steps[0].phase == TASK_PHASE_LOADING
    steps = [step for step in tasks.steps if step.phase == TASK_PHASE_RUNNING and step.step]
    assert (steps[0].step, steps[-1].step, steps[-1].total_steps) == (1, 12, 12)
    assert len(steps) < 12
    assert steps[-1].loss > 0
    assert steps[-1].samples_per_s > 0


def test_a_diverging_training_says_what_to_lower(tasks: Any, model_of: Model, iris_csv: Path) -> None:
    job = Job(tasks, iris_csv, model_of, "mlp", learning_rate=10, weight_decay=1)
    with pytest.raises(TaskError, match="lower learning_rate") as caught:
        job.train(epochs=100)
    assert caught.value.reason == "TASK"


def test_adamw(tasks: Any, model_of: Model, iris_csv: Path) -> None:
    job = Job(tasks, iris_csv, model_of, "mlp", optimizer="adamw", learning_rate=0.01, weight_decay=0.01)
    result, _ = job.train(epochs=8)
    assert result.metrics["loss"] < 0.9


def test_weights_of_another_model(tasks: Any, model_of: Model, iris_csv: Path, tmp_path: Path) -> None:
    job = Job(tasks, iris_csv, model_of, "mlp")
    weights = read_weights(job.base)
    weights.pop("output.bias")
    with pytest.raises(TaskError, match=r"tensor output\.bias is missing"):
        job.train(base=write_weights("base", tmp_path / "less", weights).path)
    (tmp_path / "none").write_bytes(b"\xff" * 64)
    with pytest.raises(TaskError, match="the weights cannot be read"):
        job.train(base=tmp_path / "none")


def test_initial_weights_follow_the_seed(tasks: Any, model_of: Model, iris_csv: Path) -> None:
    model = model_of("mlp", tasks.inspect(iris_csv))

    def initial(seed: int) -> Any:
        _, outputs = tasks.run(TaskSpec(initialize=InitializeSpec(model=model, seed=seed)))
        return outputs["base"]

    assert initial(1).part_sha256 == initial(1).part_sha256 != initial(2).part_sha256
    assert list(read_weights(initial(1).path)) == list(build_model(model, 1).weights())


@pytest.mark.parametrize(
    ("architecture", "schema", "message"),
    [
        ("cnn", DataSchema(), "the data set has no column of images: choose mlp"),
        ("mlp", DataSchema(image=ImageShape(height=8, width=8, channels=1)), "choose cnn"),
        ("mlp", DataSchema(), "no column of numbers or categories"),
        ("cnn", DataSchema(image=ImageShape(height=3, width=8, channels=1)), "4 x 4 pixels or more"),
    ],
)
def test_a_model_that_does_not_fit_the_data(
    model_of: Model, architecture: str, schema: DataSchema, message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        build_model(model_of(architecture, schema), 0)


def test_an_architecture_from_the_future() -> None:
    with pytest.raises(TaskError, match=r"does not know the architecture 'mamba'.*update it") as caught:
        build_model(ModelSpec(architecture="mamba"), 0)
    assert caught.value.reason == "WORKER"


def test_noop_writes_seeded_random_bytes(tasks: Any, model_of: Model) -> None:
    model = model_of("noop", params=3_000_000)
    _, outputs = tasks.run(TaskSpec(initialize=InitializeSpec(model=model)))
    base = outputs["base"].path
    assert not read_weights(base)["weight"].any()

    def update(shard: int, round_number: int = 1) -> Any:
        spec = TrainSpec(model=model, seed=9, round=round_number, shard_index=shard)
        return tasks.run(TaskSpec(train=spec), base=base)[1]["update"]

    first = update(0)
    assert first.part_sha256 == update(0).part_sha256
    assert len({update(0).part_sha256, update(1).part_sha256, update(0, 2).part_sha256}) == 3
    assert read_map(first.path).tensors == read_map(base).tensors
    values = read_weights(first.path)["weight"].numpy()
    assert np.isfinite(values).all()
    assert -1e-3 <= values.min() < -0.9e-3 < 0.9e-3 < values.max() <= 1e-3


def test_parts_are_hashed_while_they_are_written(tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(1000)
    for size in (1, 99, 100, 101, 200, 1000):
        with HashedFile("update", tmp_path / "file", part_size=100) as file:
            for start in range(0, size, 33):
                file.write(data[start : min(start + 33, size)])
            output = file.finish()
        assert output.size == size == output.path.stat().st_size
        expected = [hashlib.sha256(data[start : min(start + 100, size)]).digest() for start in range(0, size, 100)]
        assert list(output.part_sha256) == expected
