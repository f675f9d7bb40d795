"""What a running task may do to the outside: report, announce outputs, hear of a cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trainnet.v1.task_pb2 import TASK_PHASE_ENCODING, TASK_PHASE_LOADING, TASK_PHASE_RUNNING, TaskPhase
from trainnet.worker.protocol import OutputFile, Step

REPORT_INTERVAL = 0.2


class Cancelled(BaseException):
    """The run was cancelled. No Exception, so that no task takes it for a failure."""


class TaskContext:
    """Inputs by name, a folder for outputs, and the way to tell how far the task is."""

    def __init__(
        self,
        inputs: dict[str, Path],
        out: Path,
        *,
        on_progress: Callable[[Step], None],
        on_output: Callable[[OutputFile], None],
        cancelled: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inputs = inputs
        self.out = out
        self._on_progress = on_progress
        self._on_output = on_output
        self._cancelled = cancelled
        self._now = now
        self._reported_at = -REPORT_INTERVAL
        self._samples = 0
        self._samples_since = now()

    def phase(self, phase: TaskPhase) -> None:
        """Enters a phase. Raises Cancelled."""
        self.check_cancelled()
        self._on_progress(Step(phase))

    def loading(self) -> None:
        """Enters LOADING."""
        self.phase(TASK_PHASE_LOADING)

    def running(self) -> None:
        """Enters RUNNING."""
        self.phase(TASK_PHASE_RUNNING)
        self._samples, self._samples_since = 0, self._now()

    def encoding(self) -> None:
        """Enters ENCODING."""
        self.phase(TASK_PHASE_ENCODING)

    def step(self, step: int, total: int, samples: int, loss: Callable[[], float] = lambda: 0.0) -> None:
        """Counts a step of `samples` rows; reports the first, the last and at most five a second between.

        `loss` is only called for a report: reading it back from an accelerator waits for it. Raises Cancelled.
        """
        self.check_cancelled()
        self._samples += samples
        now = self._now()
        if step != 1 and step != total and now - self._reported_at < REPORT_INTERVAL:
            return
        self._reported_at = now
        rate = self._samples / (now - self._samples_since) if now > self._samples_since else 0.0
        self._samples, self._samples_since = 0, now
        self._on_progress(Step(TASK_PHASE_RUNNING, step, total, loss(), rate))

    def check_cancelled(self) -> None:
        """Raises Cancelled when the run is not wanted any more."""
        if self._cancelled():
            raise Cancelled

    def output(self, output: OutputFile) -> None:
        """Announces a finished file."""
        self._on_output(output)
