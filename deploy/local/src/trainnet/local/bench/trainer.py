"""A warm trainer process without an agent around it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trainnet.v1.dataset_pb2 import DataSchema, DatasetFormat, ShardPlan
from trainnet.v1.task_pb2 import InspectSpec, PrepareSpec, TaskResult, TaskSpec
from trainnet.worker.agent.trainers import TrainerProcess
from trainnet.worker.protocol import OutputFile

_START = 120.0


@dataclass(frozen=True)
class Prepared:
    """A data set as one shard."""

    schema: DataSchema
    shard: Path
    sample: Path | None


class BenchTrainer:
    """Does tasks one after the other, over the protocol that agent and trainer speak."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._warm = asyncio.Event()
        self._tasks = 0
        self._process = TrainerProcess(
            0, threads=threads, inputs=folder / "inputs", max_inputs=1 << 40, on_change=self._changed
        )

    def _changed(self) -> None:
        if self._process.warm:
            self._warm.set()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._process.run())
        await asyncio.wait_for(self._warm.wait(), _START)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def run(self, spec: TaskSpec, inputs: Mapping[str, Path]) -> tuple[TaskResult, dict[str, Path]]:
        """The result, and the outputs by name. Raises TaskError."""
        self._tasks += 1
        out = self._folder / f"task-{self._tasks}"
        out.mkdir(parents=True)
        outputs: dict[str, Path] = {}

        def on_output(output: OutputFile) -> None:
            outputs[output.output] = output.path

        result = await self._process.execute(spec, inputs, out, on_progress=lambda step: None, on_output=on_output)
        return result, outputs

    async def timed(self, spec: TaskSpec, inputs: Mapping[str, Path]) -> tuple[float, TaskResult]:
        """(seconds from command to result, the result). Raises TaskError."""
        started = time.perf_counter()
        result, _ = await self.run(spec, inputs)
        return time.perf_counter() - started, result

    async def prepare(self, source: Path, kind: DatasetFormat) -> Prepared:
        """Inspects a file and cuts it into one shard, nothing held out. Raises TaskError."""
        found, _ = await self.run(TaskSpec(inspect=InspectSpec(format=kind)), {"source": source})
        schema = found.inspect.schema
        plan = ShardPlan(shards=1, seed=1)
        spec = TaskSpec(prepare=PrepareSpec(format=kind, schema=schema, plan=plan))
        _, outputs = await self.run(spec, {"source": source})
        return Prepared(schema, outputs["shard-0"], outputs.get("sample"))
