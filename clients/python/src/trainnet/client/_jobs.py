"""Jobs: create one, watch it, wait for it, take its model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from trainnet.client import _report
from trainnet.client._datasets import TransferProgress
from trainnet.client._errors import JobFailed, TrainNetError, VerifyFailed, VerifyUnavailable
from trainnet.client._job_facts import JobFacts
from trainnet.client._model import download_model
from trainnet.client._models import JobState, Progress, short
from trainnet.client._names import resource
from trainnet.client._rpc import Connection
from trainnet.v1 import job_pb2

if TYPE_CHECKING:
    from trainnet.client.verify import Verification

_PAGE = 200


@dataclass(frozen=True)
class JobUpdate:
    """One step of a watch: the job as it is now, and the newest progress of each task under way."""

    job: Job
    progress: tuple[Progress, ...]


class Job(JobFacts):
    """A job. Its properties say what the coordinator said last; `refresh` and `watch` ask again."""

    def __init__(self, connection: Connection, message: job_pb2.Job) -> None:
        self._connection = connection
        self._message = message

    def __repr__(self) -> str:
        return f"<Job {self.name} {self.state}>"

    def refresh(self) -> Job:
        """Asks for the present state. Raises NotFound."""
        request = job_pb2.GetJobRequest(name=self.name)
        self._message = self._connection.call(self._connection.jobs.GetJob, request).job
        return self

    def watch(self, away: Callable[[float], None] | None = None) -> Iterator[JobUpdate]:
        """Every change and the live progress, until the job ended; the first update is the present state.

        Survives restarts of the coordinator: the stream is opened again, and the job is told whole then. Meanwhile
        `away` is told, after each attempt, for how many seconds nobody could be reached; the next update ends that.
        Raises NotFound, ConnectionFailed when the coordinator stays away.
        """
        newest: dict[tuple[int, int, int, int], job_pb2.TaskProgress] = {}
        for first, message in self._connection.watch(self.name, away):
            if first:
                newest.clear()
            if message.HasField("job"):
                self._message = message.job if first else _with_rounds(self._message, message.job)
            for task in message.progress:
                newest[task.kind, task.round, task.shard, task.fence] = task
            tasks = _report.shown(newest.values(), self._message)
            newest = {(task.kind, task.round, task.shard, task.fence): task for task in tasks}
            yield JobUpdate(self, tuple(Progress.of(task) for task in tasks))
            if self.state.ended:
                return

    def wait(self, progress: bool | Callable[[JobUpdate], None] = False, *, timeout: float | None = None) -> Job:
        """Returns once it SUCCEEDED. `progress=True` prints a line for each change; a function gets each update.

        Raises JobFailed when it ended otherwise, TrainNetError after `timeout` seconds (looked at with each update).
        """
        show = _report.LinePrinter() if progress is True else progress or None
        end = None if timeout is None else time.monotonic() + timeout
        for update in self.watch(show.away if isinstance(show, _report.LinePrinter) else None):
            if show is not None:
                show(update)
            if end is not None and time.monotonic() >= end and not self.state.ended:
                raise TrainNetError(f"{self.name} is still {self.state} after {timeout:g} s")
        if self.state is not JobState.SUCCEEDED:
            raise JobFailed(self.name, self.state, self.message)
        return self

    def cancel(self) -> Job:
        """Cancels it. A job that had ended already stays as it ended: look at `state`. Raises NotFound."""
        request = job_pb2.CancelJobRequest(name=self.name)
        self._message = self._connection.call(self._connection.jobs.CancelJob, request).job
        return self

    def delete(self) -> None:
        """Deletes it with its model for good. Raises NotFound, FailedPrecondition (NOT_ENDED)."""
        self._connection.call(self._connection.jobs.DeleteJob, job_pb2.DeleteJobRequest(name=self.name))

    def download(
        self,
        path: str | PathLike[str],
        round: int | None = None,  # noqa: A002 - the field's name for it
        *,
        overwrite: bool = False,
        wait: bool = True,
        progress: TransferProgress | None = None,
    ) -> Path:
        """Makes `path` the model's folder, whole or not at all, and answers it.

        The model is that of `round`, of the last merged one where None. Once the job ended a trusted worker makes
        the folder that `from_pretrained` loads as it is: `wait` waits for that while one is online. Else, and for other
        rounds, there are the weights, what belongs beside them, and a short card.
        A folder that holds something already is refused unless `overwrite`. A download that broke off is resumed by the
        next one.
        Raises FailedPrecondition (NO_MODEL, COLLECTED), DownloadFailed, DownloadCorrupt, InvalidFile.
        """
        wait = wait and self._waits_for_folder(round)
        return download_model(
            self._connection, self.name, Path(path), round or 0, overwrite=overwrite, wait=wait, progress=progress
        )

    def _waits_for_folder(self, number: int | None) -> bool:
        if not self.state.ended:
            self.refresh()
        return self.state.ended and number in (None, self.merged_rounds)

    def verify(
        self,
        round: int,  # noqa: A002 - the field's name for it
        progress: Callable[[int, int], None] | None = None,
    ) -> Verification:
        """Recomputes a merged round's weights on this machine and compares their SHA-256: see `matches`. Needs numpy.

        `progress` is told the bytes read and the bytes there are. Raises VerifyFailed when it breaks off,
        VerifyUnavailable when the round is not merged or what it was made of is collected, NotFound.
        """
        request = job_pb2.GetRoundRequest(name=f"{self.name}/rounds/{round}")
        message = self._connection.call(self._connection.jobs.GetRound, request).round
        if message.state != job_pb2.ROUND_STATE_MERGED:
            state = short(job_pb2.RoundState, message.state, "ROUND_STATE_")
            raise VerifyUnavailable(f"{message.name} is {state}, not merged", hint="verify a merged round")
        if not message.verifiable:
            raise _collected(message.name)
        from trainnet.client.verify import VerifyError, verify_round  # needs numpy

        try:
            return verify_round(message, progress)
        except VerifyError as error:
            # Of a job that runs on, a round may have been collected while it was read.
            if not self._connection.call(self._connection.jobs.GetRound, request).round.verifiable:
                raise _collected(message.name) from error
            raise VerifyFailed(str(error)) from error


class Jobs:
    """The jobs of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Job:
        """One by its name, with or without `jobs/`. Raises NotFound."""
        request = job_pb2.GetJobRequest(name=resource("jobs", name))
        return Job(self._connection, self._connection.call(self._connection.jobs.GetJob, request).job)

    def list(self) -> Iterator[Job]:
        """All of them without their rounds, newest first, a page at a time."""
        token = ""
        while True:
            request = job_pb2.ListJobsRequest(page_size=_PAGE, page_token=token)
            page = self._connection.call(self._connection.jobs.ListJobs, request)
            yield from (Job(self._connection, message) for message in page.jobs)
            token = page.next_page_token
            if not token:
                return

    def create(self, spec: job_pb2.JobSpec, *, request_id: str) -> Job:
        """Creates a job from the contract's message; the same `request_id` answers the same job.

        Raises InvalidArgument, NotFound, FailedPrecondition (DATASET_NOT_READY), AlreadyExists.
        """
        request = job_pb2.CreateJobRequest(request_id=request_id, spec=spec)
        return Job(self._connection, self._connection.call(self._connection.jobs.CreateJob, request).job)


def _collected(name: str) -> VerifyUnavailable:
    return VerifyUnavailable(
        f"{name} is not verifiable any more: its updates are collected",
        hint="the newest are kept; `trainnet up --keep-rounds` (TRAINNET_KEEP_ROUNDS of the coordinator) keeps more",
    )


def _with_rounds(known: job_pb2.Job, news: job_pb2.Job) -> job_pb2.Job:
    """A watched job whole again: later messages leave out the rounds that are settled."""
    told = {item.number for item in news.rounds}
    merged = job_pb2.Job()
    merged.CopyFrom(news)
    del merged.rounds[:]
    rounds = [item for item in known.rounds if item.number not in told]
    merged.rounds.extend(sorted([*rounds, *news.rounds], key=lambda item: item.number))
    return merged
