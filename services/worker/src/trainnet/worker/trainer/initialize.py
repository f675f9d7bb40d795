"""Makes a job's initial weights."""

from __future__ import annotations

from trainnet.v1.task_pb2 import InitializeSpec, TaskResult
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.models import build
from trainnet.worker.trainer.weights import write_weights


def initialize(spec: InitializeSpec, context: TaskContext) -> TaskResult:
    """Writes `base`: the model's own initialisation, seeded, in state_dict order. Raises TaskError."""
    context.encoding()
    model = build(spec.model, spec.seed)
    context.output(write_weights("base", context.out / "base.safetensors", model.state_dict()))
    return TaskResult()
