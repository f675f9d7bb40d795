"""The same budget on one machine without TrainNet: a plain loop over all training rows.

The model, the rows and the number of examples seen are those of the job; coordinator, shards, rounds and merges are not
there. The loop is written here on purpose, so that it owes nothing to the worker's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import json_format
from torch import Tensor

from trainnet.v1.dataset_pb2 import ShardPlan
from trainnet.v1.task_pb2 import InitializeSpec, InspectSpec, ModelSpec, PrepareSpec
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.inspect import inspect
from trainnet.worker.trainer.data.prepare import prepare
from trainnet.worker.trainer.initialize import initialize
from trainnet.worker.trainer.models import Model, build_model
from trainnet.worker.trainer.weights import read_weights


@dataclass(frozen=True)
class Result:
    """Metrics on the held-out rows, and seconds of the training loop."""

    metrics: dict[str, float]
    seconds: float


def train_alone(
    inspection: InspectSpec,
    source: Path,
    plan: ShardPlan,
    model_spec: ModelSpec,
    start: InitializeSpec,
    inputs: dict[str, Path],
    *,
    examples_to_see: int,
    folder: Path,
) -> Result:
    """Prepares, trains and evaluates in this process. `start` and `inputs` are what the job's INITIALIZE had."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = inspect(inspection, _context({"source": source}, folder)).inspect.schema
    model_spec.schema.CopyFrom(schema)
    alone = ShardPlan()
    alone.CopyFrom(plan)
    alone.shards = 1
    prepare(PrepareSpec(format=inspection.format, schema=schema, plan=alone), _context({"source": source}, folder))
    sample = folder / "sample.parquet"
    start.model.CopyFrom(model_spec)
    initialize(start, _context({**inputs, **({"sample": sample} if sample.exists() else {})}, folder))

    bundle, frozen = folder / "bundle.zip", folder / "frozen.safetensors"
    model = build_model(model_spec, 1, bundle if bundle.exists() else None, frozen if frozen.exists() else None)
    model.load(read_weights(folder / "base.safetensors"))
    settings: dict[str, Any] = json_format.MessageToDict(model_spec.hyperparameters)
    rows = _arrays(model, folder / "shard-0.parquet")
    seconds = _train(model, rows, settings, examples_to_see)
    return Result(_evaluate(model, _arrays(model, folder / "holdout.parquet")), seconds)


def _train(model: Model, rows: dict[str, Tensor], settings: dict[str, Any], examples_to_see: int) -> float:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    parameters = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    optimizer: torch.optim.Optimizer
    if settings["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=rate, momentum=settings["momentum"], weight_decay=decay)
    else:
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    count, batch_size = len(next(iter(rows.values()))), int(settings["batch_size"])
    model.module.train()
    began, seen = time.perf_counter(), 0
    while seen < examples_to_see:
        for chosen in torch.randperm(count).split(batch_size):  # type: ignore[no-untyped-call]
            batch = model.encoding.batch({name: values[chosen] for name, values in rows.items()})
            optimizer.zero_grad()
            model.objective.loss(model.module, batch).backward()  # type: ignore[no-untyped-call]
            if settings["gradient_clip"]:
                torch.nn.utils.clip_grad_norm_(parameters, settings["gradient_clip"])
            optimizer.step()
            seen += len(chosen)
            if seen >= examples_to_see:
                break
    return time.perf_counter() - began


def _evaluate(model: Model, rows: dict[str, Tensor]) -> dict[str, float]:
    model.module.eval()
    sums: dict[str, Tensor] = {}
    count = len(next(iter(rows.values())))
    with torch.inference_mode():
        for chosen in torch.arange(count).split(64):  # type: ignore[no-untyped-call]
            batch = model.encoding.batch({name: values[chosen] for name, values in rows.items()})
            for name, value in model.objective.tally(model.module, batch).items():
                sums[name] = sums[name] + value if name in sums else value
    return model.objective.metrics(sums)


def _arrays(model: Model, path: Path) -> dict[str, Tensor]:
    blocks = list(model.encoding.examples(path))
    return {name: torch.from_numpy(np.concatenate([block[name] for block in blocks])) for name in blocks[0]}


def _context(inputs: dict[str, Path], out: Path) -> TaskContext:
    return TaskContext(inputs, out, on_progress=lambda step: None, on_output=lambda output: None)
