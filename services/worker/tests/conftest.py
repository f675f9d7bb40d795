"""Real data, a real trainer in this process, and the agent's peers."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from aiohttp import web
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, load_iris

from services.worker.tests.models.scene import Scene, Shard, shards
from services.worker.tests.peers import FileStore, Peer
from trainnet.v1 import dataset_pb2, task_pb2
from trainnet.worker.protocol import OutputFile, Step
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.devices import set_up_torch
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.models.configuration import fields_of
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.tasks import run_task
from trainnet.worker.trainer.workbench import Workbench

COMMON = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0, "batch_size": 16}


async def until(condition: Callable[[], Any], what: str = "condition", seconds: float = 20.0) -> None:
    """Polls with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {seconds} s"
        await asyncio.sleep(0.005)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    return until


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are deselected without CUDA."""
    without = [] if torch.cuda.is_available() else [item for item in items if item.get_closest_marker("gpu")]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


# Data.


@pytest.fixture(scope="session")
def iris_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    iris = load_iris()
    path = tmp_path_factory.mktemp("iris") / "iris.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*iris.feature_names, "species"])
        writer.writerows([*row, iris.target_names[kind]] for row, kind in zip(iris.data, iris.target, strict=True))
    return path


@pytest.fixture(scope="session")
def cancer_parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cancer = load_breast_cancer()
    columns = {name: cancer.data[:, index] for index, name in enumerate(cancer.feature_names)}
    path = tmp_path_factory.mktemp("cancer") / "cancer.parquet"
    pq.write_table(pa.table({"target": cancer.target, **columns}), path)
    return path


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def digits_parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digits = load_digits()
    images = [png((image * 15).astype("uint8")) for image in digits.images]
    path = tmp_path_factory.mktemp("digits") / "digits.parquet"
    pq.write_table(pa.table({"image": images, "label": digits.target}), path)
    return path


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short texts of two classes, that say so."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    words = {"good": "lovely bright warm happy gentle", "bad": "awful dull cold sad cruel"}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(160):
            label = "good" if row % 2 else "bad"
            chosen = words[label].split()
            text = [chosen[(row * step) % 5] for step in range(3 + row % 7)]
            writer.writerow([f"film number {row} was {' '.join(text)}", label])
    return path


# Tasks in this process.


class Tasks:
    """Runs tasks as a trainer process does, without the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workbench = Workbench(set_up_torch(1), InputStore(folder / "inputs", 10**9))
        self._runs = 0
        self.steps: list[Step] = []

    def run(self, spec: task_pb2.TaskSpec, **inputs: Path) -> tuple[task_pb2.TaskResult, dict[str, OutputFile]]:
        self._runs += 1
        out = self._folder / f"run-{self._runs}"
        out.mkdir()
        outputs: dict[str, OutputFile] = {}
        self.steps = []
        context = TaskContext(
            inputs,
            out,
            on_progress=self.steps.append,
            on_output=lambda output: outputs.update({output.output: output}),
        )
        return run_task(spec, context, self._workbench), outputs

    def inspect(self, path: Path, label: str = "") -> dataset_pb2.DataSchema:
        kind = dataset_pb2.DATASET_FORMAT_PARQUET if path.suffix == ".parquet" else dataset_pb2.DATASET_FORMAT_CSV
        spec = task_pb2.InspectSpec(format=kind, label_column=label)
        result, _ = self.run(task_pb2.TaskSpec(inspect=spec), source=path)
        return result.inspect.schema

    def prepare(
        self, path: Path, shards: int, holdout: float = 0.2, seed: int = 1
    ) -> tuple[dataset_pb2.DataSchema, task_pb2.PrepareResult, dict[str, OutputFile]]:
        schema = self.inspect(path)
        kind = dataset_pb2.DATASET_FORMAT_PARQUET if path.suffix == ".parquet" else dataset_pb2.DATASET_FORMAT_CSV
        plan = dataset_pb2.ShardPlan(shards=shards, holdout_fraction=holdout, seed=seed)
        spec = task_pb2.PrepareSpec(format=kind, schema=schema, plan=plan)
        result, outputs = self.run(task_pb2.TaskSpec(prepare=spec), source=path)
        return schema, result.prepare, outputs


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path)


@pytest.fixture(scope="session")
def model_of() -> Callable[..., task_pb2.ModelSpec]:
    def model(architecture: str, schema: dataset_pb2.DataSchema | None = None, **changes: Any) -> task_pb2.ModelSpec:
        spec = task_pb2.ModelSpec(architecture=architecture, schema=schema)
        defaults: dict[str, dict[str, Any]] = {
            "mlp": {**COMMON, "hidden": [16, 16], "dropout": 0.0},
            "cnn": {**COMMON, "width": 8, "hidden": 32},
            "noop": {"params": 1024},
            "distilbert": {
                **COMMON,
                "optimizer": "adamw",
                "learning_rate": 1e-3,
                "size": "tiny",
                "max_length": 16,
                "vocab_size": 300,
                "lora.rank": 0,
                "lora.alpha": 16,
                "lora.dropout": 0,
                "lora.targets": "",
                **{f"config.{name}": None for name in fields_of(FAMILIES["distilbert"])},
            },
        }
        spec.hyperparameters.update({**defaults[architecture], **changes})
        return spec

    return model


# A model and its data, small and real.


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shard]:
    return shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def scene(tmp_path: Path, made: dict[str, Shard]) -> Scene:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return Scene(tmp_path / "runs", made)


# The agent's peers.


@pytest.fixture
async def store() -> AsyncIterator[FileStore]:
    found = FileStore()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{key:.*}", found.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def peer(store: FileStore) -> AsyncIterator[Peer]:
    found = Peer(store)
    await found.start()
    yield found
    await found.stop()
