"""The worker's own tasks in this process, one after the other: what a benchmark of learning needs of a worker."""

import itertools
from collections.abc import Mapping
from pathlib import Path

from trainnet.local.errors import LocalError
from trainnet.runtime import digest
from trainnet.v1.task_pb2 import TaskResult, TaskSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.devices import set_up_torch
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.tasks import run_task
from trainnet.worker.trainer.workbench import Workbench

_ROOM = 1 << 40


class Trainer:
    """Does tasks in a folder of its own, on one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._workbench = Workbench(set_up_torch(1), InputStore(folder / "inputs", _ROOM))

    def do(self, spec: TaskSpec, inputs: Mapping[str, Path]) -> tuple[TaskResult, dict[str, Path]]:
        """The result, and the files by name. Raises LocalError."""
        out = self._folder / f"task-{next(self._numbers)}"
        out.mkdir(parents=True)
        made: dict[str, Path] = {}
        context = TaskContext(
            dict(inputs),
            out,
            on_progress=lambda step: None,
            on_output=lambda output: made.update({output.output: output.path}),
        )
        try:
            return run_task(spec, context, self._workbench), made
        except TaskError as error:
            raise LocalError(f"{spec.WhichOneof('work')}: {error.message}") from error


def digest_of(path: Path) -> str:
    """As a worker declares a file of one part."""
    return digest.of_bytes(path.read_bytes())
