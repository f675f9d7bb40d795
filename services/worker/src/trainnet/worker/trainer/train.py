"""Trains one shard for one round. The whole loop is in this file."""

from __future__ import annotations

import math
import time

import torch
from torch import nn

from trainnet.v1.task_pb2 import ModelSpec, TaskResult, TrainSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.cache import RowsCache
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.encode import as_input
from trainnet.worker.trainer.hyperparameters import integer, number, text
from trainnet.worker.trainer.models import build
from trainnet.worker.trainer.weights import load_into, read_weights, write_weights


def train(spec: TrainSpec, context: TaskContext, rows_cache: RowsCache, device: torch.device) -> TaskResult:
    """Writes `update`: trained minus base, F32, in the base's tensor order.

    Fixed by (base, shard, spec): the seed orders the batches and drops units. Metrics: `loss` is the mean over the
    last epoch, `train_s` the loop alone. Raises TaskError, TASK when the loss leaves the finite numbers.
    """
    context.loading()
    base = read_weights(context.inputs["base"])
    rows = rows_cache.get(spec.shard, context.inputs["shard"], spec.model.schema)
    model = build(spec.model, spec.seed)
    load_into(model, base)
    model.to(device).train()
    optimizer = make_optimizer(spec.model, model)

    batch_size = integer(spec.model, "batch_size")
    steps_per_epoch = -(-len(rows) // batch_size)
    total = steps_per_epoch * spec.epochs
    torch.manual_seed(spec.seed)  # dropout
    order = torch.Generator().manual_seed(spec.seed)
    epoch_loss = torch.zeros((), dtype=torch.float64)
    step = 0

    context.running()
    started = time.perf_counter()
    for _epoch in range(spec.epochs):
        shuffled = torch.randperm(len(rows), generator=order)
        epoch_loss = torch.zeros((), device=device)
        for batch in torch.split(shuffled, batch_size):
            x = as_input(rows.x[batch].to(device))
            y = rows.y[batch].to(device)
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            epoch_loss += loss.detach() * len(batch)
            step += 1
            context.step(step, total, len(batch), lambda loss=loss: _finite(float(loss.detach())))  # type: ignore[misc]
    mean_loss = _finite(float(epoch_loss) / len(rows))
    seconds = time.perf_counter() - started

    context.encoding()
    trained = model.state_dict()
    update = {name: trained[name].detach().to("cpu") - tensor for name, tensor in base.items()}
    if not all(bool(torch.isfinite(delta).all()) for delta in update.values()):
        raise _diverged()
    context.output(write_weights("update", context.out / "update.safetensors", update))
    samples = len(rows) * spec.epochs
    return TaskResult(
        metrics={
            "loss": mean_loss,
            "train_s": seconds,
            "samples_per_s": samples / seconds if seconds else 0.0,
            "examples": len(rows),
        }
    )


def make_optimizer(spec: ModelSpec, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the hyperparameters ask for. Each round starts with a fresh one."""
    learning_rate, weight_decay = number(spec, "learning_rate"), number(spec, "weight_decay")
    match text(spec, "optimizer"):
        case "sgd":
            return torch.optim.SGD(
                model.parameters(), lr=learning_rate, momentum=number(spec, "momentum"), weight_decay=weight_decay
            )
        case "adamw":
            return torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        case other:
            raise TaskError("TASK", f"the hyperparameter optimizer is {other!r}, neither sgd nor adamw")


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise _diverged()
    return loss


def _diverged() -> TaskError:
    return TaskError("TASK", "training diverged: the loss is not finite; lower learning_rate")
