"""Which code does which task."""

from __future__ import annotations

from trainnet.v1.task_pb2 import TaskResult, TaskSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer import noop
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.inspect import inspect
from trainnet.worker.trainer.data.prepare import prepare
from trainnet.worker.trainer.evaluate import evaluate
from trainnet.worker.trainer.export.export import export
from trainnet.worker.trainer.initialize import initialize
from trainnet.worker.trainer.train import train
from trainnet.worker.trainer.workbench import Workbench


def run_task(spec: TaskSpec, context: TaskContext, workbench: Workbench) -> TaskResult:
    """Does a task. Raises TaskError or Cancelled."""
    match spec.WhichOneof("work"):
        case "inspect":
            return inspect(spec.inspect, context)
        case "prepare":
            return prepare(spec.prepare, context)
        case "initialize" if spec.initialize.model.architecture == "noop":
            return noop.initialize(spec.initialize, context)
        case "initialize":
            return initialize(spec.initialize, context)
        case "train" if spec.train.model.architecture == "noop":
            return noop.train(spec.train, context)
        case "train":
            return train(spec.train, context, workbench, job=spec.job)
        case "evaluate":
            return evaluate(spec.evaluate, context, workbench)
        case "export":
            return export(spec.export, context)
        case other:
            raise TaskError("WORKER", f"this worker does not know the task {other}: update it")
