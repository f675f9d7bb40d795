"""The coordinator promises architectures and hyperparameters; the worker's code must read exactly what it promises."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf import json_format

from tests.contract.rows import files
from trainnet.coordinator.domain.catalog import ARCHITECTURES, Architecture, Data, Task, Type
from trainnet.v1 import dataset_pb2, task_pb2
from trainnet.worker import protocol
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.tasks import run_task
from trainnet.worker.trainer.workbench import Workbench

TEXT = {"vocab_size": 300, "max_length": 16}
SMALL: dict[str, dict[str, Any]] = {
    "bert": {
        **TEXT,
        "config.hidden_size": 16,
        "config.num_hidden_layers": 1,
        "config.num_attention_heads": 2,
        "config.intermediate_size": 16,
    },
    "cnn": {"batch_size": 256},
    "distilbert": {**TEXT, "config.dim": 16, "config.n_layers": 1, "config.n_heads": 2, "config.hidden_dim": 16},
    "gpt2": {**TEXT, "config.n_embd": 16, "config.n_layer": 1, "config.n_head": 2},
    "mlp": {"batch_size": 256},
    "mobilenet_v2": {"image_size": 32, "config.depth_multiplier": 0.1},
    "noop": {"params": 16},
    "vit": {
        "config.patch_size": 4,
        "config.hidden_size": 16,
        "config.num_hidden_layers": 1,
        "config.num_attention_heads": 2,
        "config.intermediate_size": 16,
    },
    "whisper": {
        **TEXT,
        "max_seconds": 0.5,
        "config.d_model": 16,
        "config.encoder_layers": 1,
        "config.decoder_layers": 1,
        "config.encoder_attention_heads": 2,
        "config.decoder_attention_heads": 2,
        "config.encoder_ffn_dim": 16,
        "config.decoder_ffn_dim": 16,
    },
}
"""Values with which a model is made and trained in a moment."""
METRIC = {Task.CLASSIFICATION: "accuracy", Task.LANGUAGE_MODELING: "perplexity", Task.TRANSCRIPTION: "word_error_rate"}


@dataclass(frozen=True)
class Cut:
    """Data of one kind: all of it in one shard."""

    schema: dataset_pb2.DataSchema | None = None
    shard: Path | None = None
    sample: Path | None = None


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

    def initialize(self, model: task_pb2.ModelSpec, cut: Cut) -> dict[str, Path]:
        """What the later tasks of a job get beside their data."""
        inputs = {} if cut.sample is None else {"sample": cut.sample}
        _, made = self.run(task_pb2.TaskSpec(initialize=task_pb2.InitializeSpec(model=model, seed=1)), inputs)
        assert {"base"} <= set(made) <= {"base", "bundle", "frozen"}
        return {name: item.path for name, item in made.items()}

    def train(self, model: task_pb2.ModelSpec, made: dict[str, Path], cut: Cut) -> task_pb2.TaskResult:
        """The one step of a job of one round and one shard."""
        inputs = made if cut.shard is None else {**made, "shard": cut.shard}
        train = task_pb2.TrainSpec(model=model, local_steps=1, seed=1, round=1, rounds=1)
        result, outputs = self.run(task_pb2.TaskSpec(train=train), inputs)
        assert set(outputs) == {"update"}
        return result

    def evaluate(self, model: task_pb2.ModelSpec, made: dict[str, Path], cut: Cut) -> task_pb2.TaskResult:
        parts = {name: path for name, path in made.items() if name != "base"}
        assert cut.shard is not None
        inputs = {"weights": made["base"], "holdout": cut.shard, **parts}
        return self.run(task_pb2.TaskSpec(evaluate=task_pb2.EvaluateSpec(model=model, round=1)), inputs)[0]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return Trainer(tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def cuts(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> dict[Data, Cut]:
    """Real data of each kind, inspected and cut by the worker's own tasks."""
    found = {Data.NONE: Cut()}
    for kind, (path, form, reading) in files(tmp_path_factory.mktemp("data")).items():
        inputs = {"source": path}
        inspect = task_pb2.InspectSpec(format=form, reading=reading, label_column=reading.label_column)
        schema = trainer.run(task_pb2.TaskSpec(inspect=inspect), inputs)[0].inspect.schema
        plan = dataset_pb2.ShardPlan(kind=dataset_pb2.SHARD_KIND_IID, shards=1)
        prepare = task_pb2.PrepareSpec(format=form, schema=schema, plan=plan)
        made = trainer.run(task_pb2.TaskSpec(prepare=prepare), inputs)[1]
        found[kind] = Cut(schema, made["shard-0"].path, made["sample"].path if "sample" in made else None)
    return found


def model_of(architecture: Architecture, cut: Cut, **values: Any) -> task_pb2.ModelSpec:
    """A small model with these values."""
    completed = architecture.complete({**SMALL[architecture.name], **values})
    model = task_pb2.ModelSpec(architecture=architecture.name, schema=cut.schema)
    json_format.ParseDict(completed, model.hyperparameters)
    return model


CHOICES = [
    pytest.param(architecture, parameter.name, choice, id=f"{name}-{parameter.name}-{choice}")
    for name, architecture in ARCHITECTURES.items()
    for parameter in architecture.hyperparameters
    if parameter.type is Type.CHOICE and parameter.name != "size"
    for choice in parameter.choices
]


ADAPTED = [
    pytest.param(name, rank, id=f"{name}-{rank}")
    for name, architecture in ARCHITECTURES.items()
    for rank in (0, 2)
    if not rank or "lora.rank" in {parameter.name for parameter in architecture.hyperparameters}
]
"""Each architecture as it is, and those that take an adapter with one."""


def test_both_sides_know_the_same_architectures() -> None:
    assert set(protocol.ARCHITECTURES) == set(ARCHITECTURES)


@pytest.mark.parametrize(("name", "rank"), ADAPTED)
def test_an_architecture_learns_what_it_promises(trainer: Trainer, cuts: dict[Data, Cut], name: str, rank: int) -> None:
    architecture = ARCHITECTURES[name]
    adapter = {"lora.rank": rank} if rank else {}
    cut = cuts[architecture.data]
    model = model_of(architecture, cut, **adapter)
    made = trainer.initialize(model, cut)
    assert ("frozen" in made) == bool(rank)
    assert "loss" in trainer.train(model, made, cut).metrics
    if architecture.data is not Data.NONE:
        metrics = trainer.evaluate(model, made, cut).metrics
        assert {METRIC[architecture.task], "loss"} <= set(metrics)


@pytest.mark.parametrize(("architecture", "parameter", "choice"), CHOICES)
def test_a_choice_is_known_to_the_worker(
    trainer: Trainer, cuts: dict[Data, Cut], architecture: Architecture, parameter: str, choice: str
) -> None:
    cut = cuts[architecture.data]
    model = model_of(architecture, cut, **{parameter: choice})
    trainer.train(model, trainer.initialize(model, cut), cut)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_hyperparameter_is_read_by_the_worker(trainer: Trainer, cuts: dict[Data, Cut], name: str) -> None:
    """Of a value of no sense the worker complains by its name, so it is neither ignored nor called otherwise there."""
    architecture = ARCHITECTURES[name]
    cut = cuts[architecture.data]
    known = {parameter.name for parameter in architecture.hyperparameters}
    adapter = {"lora.rank": 2} if "lora.rank" in known else {}
    made = trainer.initialize(model_of(architecture, cut, **adapter), cut)
    unread = []
    for parameter in known:
        model = model_of(architecture, cut, **adapter)
        model.hyperparameters.update({parameter: {"neither": "a number", "nor": "a word"}})
        try:
            trainer.initialize(model, cut)
            trainer.train(model, made, cut)
        except TaskError as error:
            if parameter in str(error):
                continue
            raise
        unread.append(parameter)
    assert unread == []
