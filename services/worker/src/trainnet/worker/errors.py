"""What can go wrong in a worker.

WorkerError
├── TaskError           a task failed; its reason and message become the task's Fail
├── TaskDropped         the work is not wanted any more; nothing is reported
├── SessionEnded        the coordinator ended the session
└── AgentError          the agent cannot go on; one line for people and an exit code
    ├── CoordinatorUnreachable
    ├── JoinRefused
    └── AlreadyRunning
"""

from __future__ import annotations

from typing import Literal

Reason = Literal["TASK", "WORKER"]


class WorkerError(Exception):
    """Root of the worker's errors."""


class TaskError(WorkerError):
    """A task cannot be done. TASK: the data or the spec is at fault, it would fail elsewhere too. WORKER: this
    machine cannot, another may. The message is one line: what failed and what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        self.message = " ".join(message.split())
        super().__init__(self.message)


class TaskDropped(WorkerError):
    """The attempt is not live any more."""


class SessionEnded(WorkerError):
    """The session ended; the worker connects again."""


class AgentError(WorkerError):
    """The agent cannot go on."""

    exit_code = 1


class CoordinatorUnreachable(AgentError):
    """Nobody answers at the coordinator's address."""

    exit_code = 2


class JoinRefused(AgentError):
    """The coordinator does not take this worker."""

    exit_code = 3


class AlreadyRunning(AgentError):
    """Another agent works with the same data directory."""

    exit_code = 4
