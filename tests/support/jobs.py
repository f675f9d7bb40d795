"""Jobs for faults to happen to, each with one right result."""

import time
from dataclasses import dataclass
from typing import Any

from tests.support.stacks import Stack
from tests.support.until import PATIENCE, until
from trainnet.client import Client, Dataset, Job, JobState, Progress


@dataclass(frozen=True)
class Recipe:
    """Spec, data and seed fix every byte of a job's result on one machine."""

    architecture: str
    rounds: int
    shards: int
    epochs: int = 1
    settings: tuple[tuple[str, Any], ...] = ()
    merge: str = "fedavg"
    asked: tuple[tuple[str, Any], ...] = ()
    """Further arguments of `Client.train`."""

    def start(self, client: Client, dataset: Dataset | None = None, name: str = "") -> Job:
        return client.train(
            dataset,
            self.architecture,
            rounds=self.rounds,
            shards=self.shards,
            epochs=self.epochs,
            hyperparameters=dict(self.settings),
            merge=self.merge,
            name=name or None,
            **dict(self.asked),
        )


def noop(params: int, *, rounds: int, shards: int, merge: str = "fedavg") -> Recipe:
    """Trains nothing; every update has 4 * `params` bytes."""
    return Recipe("noop", rounds, shards, settings=(("params", params),), merge=merge)


def until_training(job: Job, *, number: int = 1, step: int = 1, within: float = PATIENCE) -> Progress:
    """Live progress of a shard of round `number` or later that is LEASED and has made `step` steps, while more are to
    come."""
    end = time.monotonic() + within
    for update in job.watch():
        for item in update.progress:
            training = item.kind == "TRAIN" and item.state == "LEASED" and item.phase == "RUNNING"
            if training and item.round >= number and step <= item.step < item.total_steps / 2:
                return item
        assert time.monotonic() < end, f"not within {within:g} s: a shard of {job.name} trains; last: {update.progress}"
    raise AssertionError(f"{job.name} was to be hit in mid-shard, but it ended {job.state}: {job.message}")


def until_phase(job: Job, fence: int, phase: str, *, within: float = PATIENCE) -> Progress:
    """Live progress of a leased task once it is in that phase."""
    end = time.monotonic() + within
    for update in job.watch():
        for item in update.progress:
            if item.fence == fence and item.phase == phase:
                return item
        assert time.monotonic() < end, f"not within {within:g} s: fence {fence} is {phase}; last: {update.progress}"
    raise AssertionError(f"{job.name} ended {job.state} before fence {fence} was {phase}")


def finish(stack: Stack, job: Job, within: float = 2 * PATIENCE) -> Job:
    """Waits until the job has SUCCEEDED; another end fails at once and says why."""

    def ended() -> JobState | None:
        state = job.refresh().state
        return state if state.ended else None

    try:
        until(ended, f"{job.name} ends", within=within, every=0.05)
    except AssertionError as error:
        tasks = stack.rows.all("SELECT kind, round, shard, state, message FROM tasks WHERE job = ?", job.id)
        left = [task for task in tasks if task["state"] not in ("DONE", "CANCELLED", "QUARANTINED")]
        raise AssertionError(f"{error}; not done: {left}") from None
    assert job.state is JobState.SUCCEEDED, f"{job.name} {job.state}: {job.message}"
    return job


def merged(job: Job) -> list[str]:
    """SHA-256 of the merged weights of every round, in order."""
    return [item.merged_sha256 for item in job.refresh().rounds]


def states(job: Job) -> list[str]:
    """SHA-256 of the state of the server's optimiser after every round, in order."""
    return [item.optimizer_state_sha256 for item in job.refresh().rounds]


def uploading(stack: Stack, job: Job) -> dict[str, Any] | None:
    """An upload that was granted, but not completed, while its lease is live."""
    return stack.rows.one(
        "SELECT uploads.fence, uploads.completed, uploads.upload_id FROM uploads"
        " JOIN attempts ON attempts.fence = uploads.fence JOIN tasks ON tasks.id = attempts.task"
        " WHERE tasks.job = ? AND tasks.kind = 'TRAIN' AND NOT uploads.completed AND attempts.state = 'LEASED'",
        job.id,
    )
