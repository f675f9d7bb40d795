"""What a watch shows: which tasks are still under way, and a line for each change where there is no live display."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING

from trainnet.client._models import Round, RoundState
from trainnet.v1 import job_pb2, task_pb2

if TYPE_CHECKING:
    from trainnet.client._jobs import JobUpdate

_OVER = frozenset({task_pb2.TASK_STATE_DONE, task_pb2.TASK_STATE_QUARANTINED, task_pb2.TASK_STATE_CANCELLED})
_ENDED = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})
_HELD = frozenset({task_pb2.TASK_STATE_ASSIGNED, task_pb2.TASK_STATE_LEASED})
_AWAY_SHOWN = 2.0
"""Seconds after which people want to know that the coordinator is out of reach; a restart takes less."""
_BEFORE_ROUNDS = frozenset({task_pb2.TASK_KIND_INSPECT, task_pb2.TASK_KIND_PREPARE, task_pb2.TASK_KIND_INITIALIZE})


def under_way(task: job_pb2.TaskProgress, job: job_pb2.Job) -> bool:
    """Whether a task's last progress still means something, now that the job is as it is."""
    if task.state in _OVER or job.state in _ENDED:
        return False
    if task.kind in _BEFORE_ROUNDS:
        return not job.rounds
    if task.kind == task_pb2.TASK_KIND_EVALUATE and not task.round:
        return not job.initial_metrics
    here = next((found for found in job.rounds if found.number == task.round), None)
    if here is None:
        return True
    if task.kind == task_pb2.TASK_KIND_EVALUATE:
        return not here.metrics
    if task.kind == task_pb2.TASK_KIND_MERGE:
        return here.state == job_pb2.ROUND_STATE_MERGING
    accepted = any(entry.shard == task.shard for entry in here.manifest)
    return here.state == job_pb2.ROUND_STATE_OPEN and not accepted


def shown(tasks: Iterable[job_pb2.TaskProgress], job: job_pb2.Job) -> list[job_pb2.TaskProgress]:
    """The tasks under way, in order: each attempt that somebody is at, of a straggler and its backup both; where nobody
    is at a task, its newest attempt."""
    by_task: dict[tuple[int, int, int], list[job_pb2.TaskProgress]] = {}
    for task in sorted(tasks, key=lambda task: task.fence):
        if under_way(task, job):
            by_task.setdefault((task.round, task.kind, task.shard), []).append(task)
    found = []
    for _, attempts in sorted(by_task.items()):
        found += [task for task in attempts if task.state in _HELD] or attempts[-1:]
    return found


def describe_metrics(metrics: Mapping[str, float]) -> str:
    """`accuracy 0.93, loss 0.2`: every metric but the count of rows it was measured on."""
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()) if name != "examples")


def describe(found: Round) -> str:
    """One line for a round that ended: metrics, updates, time."""
    metrics = describe_metrics(found.metrics)
    seconds = f"{found.seconds:.2f} s" if found.seconds is not None else ""
    updates = f"{len(found.manifest)} update" + ("" if len(found.manifest) == 1 else "s")
    pieces = [str(found.state).lower(), updates, seconds, metrics]
    if found.state is RoundState.FAILED:
        pieces.append(found.decision)
    return ", ".join(piece for piece in pieces if piece)


def describe_away(seconds: float) -> str:
    """What to say while the coordinator is out of reach; nothing at first, since most breaks are over at once."""
    return f"coordinator unreachable, trying again ({seconds:.0f} s)…" if seconds >= _AWAY_SHOWN else ""


class LinePrinter:
    """Prints a line when the job's state changes, a round is merged and a round is evaluated, and when the coordinator
    goes out of reach and comes back."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out if out is not None else sys.stderr
        self._state = ""
        self._told: dict[int, str] = {}
        self._away = False

    def __call__(self, update: JobUpdate) -> None:
        """Shows what is new in the update."""
        job = update.job
        if self._away:
            self._away = False
            print("coordinator is back", file=self._out, flush=True)
        state = f"{job.name}: {job.state}" + (f", {job.message}" if job.message else "")
        rounds = job.rounds
        for found in rounds:
            if found.state in (RoundState.OPEN, RoundState.MERGING):
                continue
            line = f"{job.name}: round {found.number} of {job.total_rounds} {describe(found)}"
            if self._told.get(found.number) != line:
                self._told[found.number] = line
                print(line, file=self._out, flush=True)
        if state != self._state:
            self._state = state
            print(state, file=self._out, flush=True)

    def away(self, seconds: float) -> None:
        """Says once that the coordinator is out of reach."""
        line = describe_away(seconds)
        if line and not self._away:
            self._away = True
            print(line, file=self._out, flush=True)
