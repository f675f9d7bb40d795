"""The same model trained by one machine: same rows, initial weights and number of steps, the worker's own loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.dataset_pb2 import DATASET_FORMAT_PARQUET, SHARD_KIND_IID, DataSchema, ShardPlan
from trainnet.v1.task_pb2 import InitializeSpec, ModelSpec, PrepareSpec, TrainSpec
from trainnet.worker.protocol import Step
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.prepare import prepare
from trainnet.worker.trainer.initialize import initialize
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.train import train
from trainnet.worker.trainer.weights import read_weights
from trainnet.worker.trainer.workbench import Workbench

_MAX_INPUTS = 10**9


@dataclass(frozen=True)
class Cut:
    """The held-out rows and all the others, as Parquet files."""

    holdout: Path
    rest: Path


@dataclass(frozen=True)
class Trained:
    """Weights, SGD steps that they took, and seconds of the training loop."""

    weights: dict[str, Tensor]
    steps: int
    seconds: float


def cut(source: Path, schema: DataSchema, holdout: float, seed: int, folder: Path) -> Cut:
    """Cuts a data set as the job's PREPARE task did, by its code, into one shard.

    The holdout is cut first and depends on the seed alone, so it is the job's, and the one shard is the union of its
    shards.
    """
    folder.mkdir(parents=True)
    plan = ShardPlan(kind=SHARD_KIND_IID, shards=1, holdout_fraction=holdout, seed=seed)
    spec = PrepareSpec(format=DATASET_FORMAT_PARQUET, schema=schema, plan=plan)
    prepare(spec, _context({"source": source}, folder))
    return Cut(folder / "holdout.parquet", folder / "shard-0.parquet")


def train_alone(
    model: ModelSpec, rows: Path, *, epochs: int, seed: int, folder: Path, show: Callable[[int, int], None]
) -> Trained:
    """Trains the job's model from the initial weights of that seed. `show` gets (step, steps)."""
    folder.mkdir(parents=True)
    # As a worker has. Two threads gain little on batches this small, and lose much where the cores are busy.
    torch.set_num_threads(1)
    initialize(InitializeSpec(model=model, seed=seed), _context({}, folder))
    base = folder / "base.safetensors"
    steps = 0

    def count(step: Step) -> None:
        nonlocal steps
        if step.total_steps:
            steps = step.step
            show(step.step, step.total_steps)

    spec = TrainSpec(model=model, shard=Artifact(digest="rows"), epochs=epochs, seed=seed)
    context = _context({"base": base, "shard": rows}, folder, count)
    workbench = Workbench(torch.device("cpu"), InputStore(folder / "inputs", _MAX_INPUTS))
    began = time.perf_counter()
    train(spec, context, workbench)
    seconds = time.perf_counter() - began
    delta = read_weights(folder / "update.safetensors")
    return Trained({name: value + delta[name] for name, value in read_weights(base).items()}, steps, seconds)


def _context(
    inputs: dict[str, Path], out: Path, on_progress: Callable[[Step], None] = lambda step: None
) -> TaskContext:
    return TaskContext(inputs, out, on_progress=on_progress, on_output=lambda output: None)
