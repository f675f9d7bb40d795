"""Live progress: the newest step of each task, at most five a second, and nothing of tasks that are over at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trainnet.v1.worker_pb2 import ConnectRequest, Progress
from trainnet.worker.agent.work import Work
from trainnet.worker.protocol import Step

FIRST_AFTER = 0.05
INTERVAL = 0.2


class ProgressReporter:
    """Of one task."""

    def __init__(self, work: Work, send: Callable[[ConnectRequest], None]) -> None:
        self._work, self._send = work, send
        self._timer: asyncio.TimerHandle | None = None
        self._sent = False
        self._newest: Step | None = None

    def report(self, step: Step) -> None:
        """Takes the newest step; it is sent when its turn comes."""
        if self._newest is not None and step.phase != self._newest.phase and self._sent:
            # The last step of a phase is what people want to have seen.
            self._flush()
        self._newest = step
        if self._timer is None:
            delay = INTERVAL if self._sent else FIRST_AFTER
            self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def close(self) -> None:
        """The task is over."""
        if self._sent:
            self._flush()
        self.discard()

    def discard(self) -> None:
        """The task is over and nobody wants to hear of it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._newest = None

    def _due(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        step, self._newest = self._newest, None
        if step is None:
            return
        self._sent = True
        self._send(
            ConnectRequest(
                progress=Progress(
                    fence=self._work.fence,
                    phase=step.phase,
                    step=step.step,
                    total_steps=step.total_steps,
                    loss=step.loss,
                    samples_per_s=step.samples_per_s,
                )
            )
        )
