"""A trainer process and a bare loop, in turns."""

import statistics
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct

from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.catalog.types import BadHyperparameter
from trainnet.local.bench import generated
from trainnet.local.bench.bare import BareProcess, write
from trainnet.local.bench.trainer import BenchTrainer
from trainnet.local.errors import LocalError
from trainnet.v1.task_pb2 import InitializeSpec, ModelParts, ModelSpec, TaskSpec, TrainSpec
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.models import build_model


async def measure(
    folder: Path, architecture: str, *, rows: int, threads: int, seconds: float, repeats: int, given: dict[str, Any]
) -> dict[str, object]:
    """The figures that `--json` prints. Raises LocalError, TaskError."""
    if architecture not in ARCHITECTURES or architecture == "noop":
        known = ", ".join(sorted(name for name in ARCHITECTURES if name != "noop"))
        raise LocalError(f"--architecture: {architecture!r} is none of {known}")
    source, kind = generated.data(architecture, rows, folder)
    async with BenchTrainer(folder / "trainer", threads) as trainer:
        prepared = await trainer.prepare(source, kind)
        hyperparameters = Struct()
        try:
            hyperparameters.update(ARCHITECTURES[architecture].complete(given))
        except BadHyperparameter as error:
            raise LocalError(f"--set: {error}") from error
        model = ModelSpec(architecture=architecture, hyperparameters=hyperparameters, schema=prepared.schema)
        inputs = {"sample": prepared.sample} if prepared.sample else {}
        _, made = await trainer.run(TaskSpec(initialize=InitializeSpec(model=model, seed=1)), inputs)
        bundle = made.get("bundle")
        train = TrainSpec(model=model, epochs=1, seed=1, round=1, rounds=1)
        train.shard.digest = "sha256:bench"
        if bundle is not None:
            train.parts.CopyFrom(ModelParts())
            train.parts.bundle.digest = "sha256:bundle"
        inputs = {"base": made["base"], "shard": prepared.shard} | ({} if bundle is None else {"bundle": bundle})

        built = build_model(model, 0, bundle)
        examples = InputStore(folder / "inputs", 1 << 40).open("sha256:bench", prepared.shard, built.encoding)
        write(folder / "bare", model, examples.fields, bundle)
        with BareProcess(folder / "bare", threads) as bare:
            bare.run(10)
            speed, _ = bare.run(20)
            train.local_steps = max(20, int(seconds / (speed / 20)))
            task = TaskSpec(train=train)
            await trainer.run(task, inputs)
            ours, theirs = [], []
            for _ in range(repeats):
                taken, result = await trainer.timed(task, inputs)
                bare_taken, count = bare.run(train.local_steps)
                ours.append(count / taken)
                theirs.append(count / bare_taken)
    return {
        "architecture": architecture,
        "samples_per_s": statistics.median(ours),
        "bare_samples_per_s": statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "loop_samples_per_s": result.metrics["samples_per_s"],
        "steps": train.local_steps,
        "batch_size": int(result.metrics["batch_size"]),
        "examples": len(examples),
        "repeats": repeats,
        "threads": threads,
    }
