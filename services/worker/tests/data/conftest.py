"""INSPECT and PREPARE on real files, without the process around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from trainnet.v1 import dataset_pb2, task_pb2
from trainnet.worker.protocol import OutputFile, Step
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.inspect import inspect
from trainnet.worker.trainer.data.prepare import prepare

# Machines are slow and shared; what is tested here is no speed.
settings.register_profile("data", deadline=None, max_examples=60)
settings.load_profile("data")

FORMATS = {
    ".csv": dataset_pb2.DATASET_FORMAT_CSV,
    ".parquet": dataset_pb2.DATASET_FORMAT_PARQUET,
    ".json": dataset_pb2.DATASET_FORMAT_JSON,
    ".jsonl": dataset_pb2.DATASET_FORMAT_JSONL,
    ".zip": dataset_pb2.DATASET_FORMAT_ZIP,
    ".txt": dataset_pb2.DATASET_FORMAT_TEXT,
}


class DataTasks:
    """Runs one task after the other, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.steps: list[Step] = []

    def _context(self, path: Path) -> tuple[TaskContext, dict[str, OutputFile]]:
        self._runs += 1
        out = self._folder / f"run-{self._runs}"
        out.mkdir()
        outputs: dict[str, OutputFile] = {}
        self.steps = []
        context = TaskContext(
            {"source": path},
            out,
            on_progress=self.steps.append,
            on_output=lambda output: outputs.update({output.output: output}),
        )
        return context, outputs

    def look(self, path: Path, label: str = "", **reading: Any) -> task_pb2.InspectResult:
        """What INSPECT finds."""
        spec = task_pb2.InspectSpec(
            format=FORMATS[path.suffix], reading=dataset_pb2.DatasetReading(label_column=label, **reading)
        )
        context, _ = self._context(path)
        return inspect(spec, context).inspect

    def inspect(self, path: Path, label: str = "", **reading: Any) -> dataset_pb2.DataSchema:
        """The schema that INSPECT finds."""
        return self.look(path, label, **reading).schema

    def cut(
        self, path: Path, schema: dataset_pb2.DataSchema, plan: dataset_pb2.ShardPlan
    ) -> tuple[task_pb2.PrepareResult, dict[str, OutputFile]]:
        """PREPARE alone."""
        context, outputs = self._context(path)
        spec = task_pb2.PrepareSpec(format=FORMATS[path.suffix], schema=schema, plan=plan)
        return prepare(spec, context).prepare, outputs

    def prepare(
        self, path: Path, shards: int, holdout: float = 0.2, seed: int = 1, **plan: Any
    ) -> tuple[dataset_pb2.DataSchema, task_pb2.PrepareResult, dict[str, OutputFile]]:
        """INSPECT and PREPARE."""
        schema = self.inspect(path)
        wanted = dataset_pb2.ShardPlan(shards=shards, holdout_fraction=holdout, seed=seed, **plan)
        return schema, *self.cut(path, schema, wanted)


@pytest.fixture
def tasks(tmp_path: Path) -> DataTasks:
    return DataTasks(tmp_path)
