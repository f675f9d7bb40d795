"""The coordinator promises architectures and hyperparameters; the worker's code must read exactly what it promises."""

from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf import json_format

from tests.support.data import breast_cancer_csv, digits_parquet
from trainnet.coordinator.domain.catalog import ARCHITECTURES, Architecture, Data, Type
from trainnet.v1 import dataset_pb2, task_pb2
from trainnet.worker import protocol
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.tasks import run_task
from trainnet.worker.trainer.workbench import Workbench

SMALL: dict[str, Any] = {"batch_size": 256, "params": 16}


class Trainer:
    """Does tasks in this process, with the code that a trainer process runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._workbench = Workbench(torch.device("cpu"), InputStore(folder / "inputs", 10**9))

    def run(
        self, spec: task_pb2.TaskSpec, inputs: dict[str, Path]
    ) -> tuple[task_pb2.TaskResult, dict[str, protocol.OutputFile]]:
        self._count += 1
        out = self._folder / str(self._count)
        out.mkdir()
        outputs: dict[str, protocol.OutputFile] = {}
        context = TaskContext(
            inputs, out, on_progress=lambda step: None, on_output=lambda item: outputs.update({item.output: item})
        )
        return run_task(spec, context, self._workbench), outputs

    def job(self, model: task_pb2.ModelSpec, shard: Path | None) -> task_pb2.TaskResult:
        """A job of one round and one shard, evaluation included where there are data."""
        _, made = self.run(task_pb2.TaskSpec(initialize=task_pb2.InitializeSpec(model=model, seed=1)), {})
        base = made["base"].path
        inputs = {"base": base} if shard is None else {"base": base, "shard": shard}
        train = task_pb2.TrainSpec(model=model, epochs=1, seed=1, round=1)
        result, made = self.run(task_pb2.TaskSpec(train=train), inputs)
        assert set(made) == {"update"}
        if shard is not None:
            evaluate = task_pb2.EvaluateSpec(model=model, round=1)
            evaluated, _ = self.run(task_pb2.TaskSpec(evaluate=evaluate), {"weights": base, "holdout": shard})
            assert "accuracy" in evaluated.metrics
        return result


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return Trainer(tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def shards(
    trainer: Trainer, tmp_path_factory: pytest.TempPathFactory
) -> dict[Data, tuple[dataset_pb2.DataSchema | None, Path | None]]:
    """(schema, shard) of real data of each kind, inspected and cut by the worker's own tasks."""
    folder = tmp_path_factory.mktemp("data")
    files = {
        Data.TABULAR: (breast_cancer_csv(folder / "table.csv"), dataset_pb2.DATASET_FORMAT_CSV),
        Data.IMAGE: (digits_parquet(folder / "images.parquet", 100), dataset_pb2.DATASET_FORMAT_PARQUET),
    }
    found: dict[Data, tuple[dataset_pb2.DataSchema | None, Path | None]] = {Data.NONE: (None, None)}
    for kind, (path, form) in files.items():
        inputs = {"source": path}
        spec = task_pb2.TaskSpec(inspect=task_pb2.InspectSpec(format=form))
        schema = trainer.run(spec, inputs)[0].inspect.schema
        plan = dataset_pb2.ShardPlan(kind=dataset_pb2.SHARD_KIND_IID, shards=1)
        spec = task_pb2.TaskSpec(prepare=task_pb2.PrepareSpec(format=form, schema=schema, plan=plan))
        found[kind] = (schema, trainer.run(spec, inputs)[1]["shard-0"].path)
    return found


def model_of(name: str, schema: dataset_pb2.DataSchema | None, values: dict[str, Any]) -> task_pb2.ModelSpec:
    model = task_pb2.ModelSpec(architecture=name, schema=schema)
    json_format.ParseDict(values, model.hyperparameters)
    return model


def completed(architecture: Architecture, **values: Any) -> dict[str, Any]:
    known = {parameter.name for parameter in architecture.hyperparameters}
    return architecture.complete({**{name: value for name, value in SMALL.items() if name in known}, **values})


CHOICES = [
    pytest.param(architecture, parameter.name, choice, id=f"{name}-{parameter.name}-{choice}")
    for name, architecture in ARCHITECTURES.items()
    for parameter in architecture.hyperparameters
    if parameter.type is Type.CHOICE
    for choice in parameter.choices
]
PARAMETERS = [
    pytest.param(architecture, parameter.name, id=f"{name}-{parameter.name}")
    for name, architecture in ARCHITECTURES.items()
    for parameter in architecture.hyperparameters
]


def test_both_sides_know_the_same_architectures() -> None:
    assert set(protocol.ARCHITECTURES) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_trains_with_its_defaults(trainer: Trainer, shards: dict[Data, Any], name: str) -> None:
    schema, shard = shards[ARCHITECTURES[name].data]
    result = trainer.job(model_of(name, schema, completed(ARCHITECTURES[name])), shard)
    assert "loss" in result.metrics


@pytest.mark.parametrize(("architecture", "parameter", "choice"), CHOICES)
def test_a_choice_is_known_to_the_worker(
    trainer: Trainer, shards: dict[Data, Any], architecture: Architecture, parameter: str, choice: str
) -> None:
    schema, shard = shards[architecture.data]
    trainer.job(model_of(architecture.name, schema, completed(architecture, **{parameter: choice})), shard)


@pytest.mark.parametrize(("architecture", "parameter"), PARAMETERS)
def test_a_hyperparameter_is_read_by_the_worker(
    trainer: Trainer, shards: dict[Data, Any], architecture: Architecture, parameter: str
) -> None:
    """Without it the worker complains by its name, so it is neither ignored nor called otherwise there."""
    schema, shard = shards[architecture.data]
    values = completed(architecture)
    del values[parameter]
    with pytest.raises(TaskError, match=rf"\b{parameter}\b"):
        trainer.job(model_of(architecture.name, schema, values), shard)
