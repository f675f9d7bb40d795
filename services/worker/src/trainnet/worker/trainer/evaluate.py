"""Evaluates weights on a holdout."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

from trainnet.v1.task_pb2 import EvaluateResult, EvaluateSpec, TaskResult
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.devices import autocast_dtype, free_memory, is_out_of_memory
from trainnet.worker.trainer.hyperparameters import integer, text
from trainnet.worker.trainer.inputs.examples import Examples, Feed
from trainnet.worker.trainer.models import Model
from trainnet.worker.trainer.weights import read_weights
from trainnet.worker.trainer.workbench import Workbench

_GAIN = 2
"""Batches of training that make one here: nothing is kept for gradients."""


def evaluate(spec: EvaluateSpec, context: TaskContext, workbench: Workbench) -> TaskResult:
    """The objective's metrics over all examples, `examples`, and the confusion of classes. Raises TaskError."""
    context.loading()
    model = workbench.model(spec.model, spec.parts, context.inputs)
    model.load(read_weights(context.inputs["weights"]))
    examples = workbench.examples(spec.holdout, "holdout", model, context)
    if len(examples) == 0:
        raise TaskError("TASK", "the holdout has no rows: hold out a larger part of the data set")
    size = _GAIN * integer(spec.model, "batch_size")
    dtype = autocast_dtype(text(spec.model, "precision", "auto"), workbench.device)

    sums = _tally(model, examples, size, dtype, context, workbench.device)
    if sums is None:
        free_memory(workbench.device)
        sums = _tally(model, examples, max(1, size // 4), dtype, context, workbench.device)
    if sums is None:
        raise TaskError("WORKER", f"out of memory, also with batches of {max(1, size // 4)}: lower batch_size")

    metrics = {**model.objective.metrics(sums), "examples": len(examples)}
    if not math.isfinite(metrics.get("loss", 0.0)):
        raise TaskError("TASK", "the model's loss on the holdout is not finite; lower learning_rate")
    if examples.truncated:
        metrics["truncated"] = examples.truncated
    return TaskResult(metrics=metrics, evaluate=EvaluateResult(confusion=model.objective.confusion(sums)))


def _tally(
    model: Model,
    examples: Examples,
    size: int,
    dtype: torch.dtype | None,
    context: TaskContext,
    device: torch.device,
) -> dict[str, Tensor] | None:
    """Sums over all examples; None where memory did not suffice."""
    model.module.eval()
    feed, sums = Feed(examples, device), dict[str, Tensor]()
    total = -(-len(examples) // size)
    autocast = torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
    context.running()
    try:
        # Not inference_mode: what a module keeps for later, the next training could not use.
        with torch.no_grad(), autocast:
            for step, start in enumerate(range(0, len(examples), size)):
                stop = min(len(examples), start + size)
                found = model.objective.tally(model.module, model.encoding.batch(feed.span(start, stop)))
                for name, value in found.items():
                    sums[name] = sums[name] + value if name in sums else value
                context.step(step + 1, total, stop - start)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return {name: value.cpu() for name, value in sums.items()}
