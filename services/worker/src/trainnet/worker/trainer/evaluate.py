"""Evaluates weights on a holdout."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainnet.v1.task_pb2 import EvaluateSpec, TaskResult
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.encode import as_input, stream_rows
from trainnet.worker.trainer.models import build
from trainnet.worker.trainer.weights import load_into, read_weights


def evaluate(spec: EvaluateSpec, context: TaskContext, device: torch.device) -> TaskResult:
    """Metrics `accuracy` and `loss` over all rows, in constant memory. Raises TaskError."""
    context.loading()
    model = build(spec.model, seed=0)
    load_into(model, read_weights(context.inputs["weights"]))
    model.to(device).eval()

    rows, right, loss_sum, step = 0, 0, 0.0, 0
    context.running()
    with torch.inference_mode():
        for block in stream_rows(context.inputs["holdout"], spec.model.schema):
            logits = model(as_input(block.x.to(device)))
            y = block.y.to(device)
            loss_sum += float(nn.functional.cross_entropy(logits, y, reduction="sum"))
            right += int((logits.argmax(1) == y).sum())
            rows += len(block)
            step += 1
            context.step(step, 0, len(block))
    if rows == 0:
        raise TaskError("TASK", "the holdout has no rows: hold out a larger part of the data set")
    if not math.isfinite(loss_sum):
        raise TaskError("TASK", "the model's loss on the holdout is not finite; lower learning_rate")
    return TaskResult(metrics={"accuracy": right / rows, "loss": loss_sum / rows, "examples": rows})
