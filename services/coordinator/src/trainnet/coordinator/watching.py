"""Live views: who looks at a job hears of its changes and of the progress of its tasks."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import ENDED_JOBS, TaskState
from trainnet.coordinator.sessions import LiveAttempt, Sessions
from trainnet.coordinator.usecases.jobs import Jobs
from trainnet.coordinator.usecases.leases import Leases
from trainnet.runtime.errors import Unavailable
from trainnet.v1 import job_pb2, task_pb2

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""A job is looked at this often even when nothing was told: what it waits for changes with the workers."""
GATHER_SECONDS = 0.1
"""Watchers hear of changes at most ten times a second."""

_ENDED = {job_pb2.JobState.Value(f"JOB_STATE_{state}") for state in ENDED_JOBS}


class Stopping(Unavailable):
    """This coordinator stops; ask again."""

    reason = "STOPPING"


class Watching:
    def __init__(self, jobs: Jobs, leases: Leases, sessions: Sessions) -> None:
        self._jobs = jobs
        self._leases = leases
        self._sessions = sessions
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.workers_changed: Callable[[], None] = lambda: None
        """Set by the app: slots became free, the scheduler should look."""
        self.stopping = asyncio.Event()

    def changed(self, name: str) -> None:
        """A job or data set changed."""
        for event in self._watchers.get(name, ()):
            event.set()

    def progressed(self, job_id: str) -> None:
        if job_id:
            self.changed(names.job(job_id))

    async def settled(self, name: str, look: Callable[[], Awaitable[tuple[T, bool]]], seconds: float) -> T:
        """What `look` answers, asked at once and after each change of a job, as soon as it says that nothing better is
        coming; the last answer after so many seconds. Raises Stopping when the coordinator stops before: an answer
        ahead of its time would say that nothing comes."""
        deadline = asyncio.get_running_loop().time() + seconds
        with self._news(name) as news:
            while True:
                news.clear()
                answer, coming = await look()
                left = deadline - asyncio.get_running_loop().time()
                if not coming or left <= 0:
                    return answer
                if self.stopping.is_set():
                    raise Stopping
                await self._next(news, left)

    @contextmanager
    def _news(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set by each change of a job."""
        news = asyncio.Event()
        self._watchers[name].add(news)
        try:
            yield news
        finally:
            self._watchers[name].discard(news)
            if not self._watchers[name]:
                del self._watchers[name]

    async def _next(self, news: asyncio.Event, seconds: float) -> None:
        """Until there is news, the coordinator stops, or the time is over."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (news, self.stopping)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for item in waiting:
                item.cancel()

    async def watch(self, name: str) -> AsyncIterator[job_pb2.WatchJobResponse]:
        """The job at once, then whatever changes, until it ended."""
        with self._news(name) as news:
            before = b""
            settled = 0
            seen: dict[int, job_pb2.TaskProgress] = {}
            while True:
                news.clear()
                job = await self._jobs.get(name, settled)
                if job.state in _ENDED and settled:
                    job = await self._jobs.get(name)
                now = job.SerializeToString(deterministic=True)
                progress = {item.fence: item for item in self._progress(job)}
                fresh = [item for fence, item in progress.items() if seen.get(fence) != item]
                fresh += await self._left(seen, progress)
                if now != before or fresh:
                    yield job_pb2.WatchJobResponse(job=job if now != before else None, progress=fresh)
                before, seen = now, progress
                settled += settled_rounds(job)
                if job.state in _ENDED or self.stopping.is_set():
                    return
                try:
                    async with asyncio.timeout(QUIET_SECONDS):
                        await news.wait()
                        await asyncio.sleep(GATHER_SECONDS)
                except TimeoutError:
                    pass

    async def _left(
        self, seen: dict[int, job_pb2.TaskProgress], progress: dict[int, job_pb2.TaskProgress]
    ) -> list[job_pb2.TaskProgress]:
        """Attempts that no worker is at any more, once each, with the state that they left their task in."""
        gone = [item for fence, item in seen.items() if fence not in progress]
        states = await self._leases.task_states([item.fence for item in gone]) if gone else {}
        for item in gone:
            item.MergeFrom(job_pb2.TaskProgress(state=f"TASK_STATE_{states.get(item.fence, TaskState.CANCELLED)}"))
        return gone

    def _progress(self, job: job_pb2.Job) -> list[job_pb2.TaskProgress]:
        job_id = names.id_of(job.name)
        return [_view(worker, attempt) for worker, attempt in self._sessions.of_job(job_id)]


def settled_rounds(job: job_pb2.Job) -> int:
    """How many of the answered rounds, from the first, change no more: merged, and evaluated where there is a holdout.
    They are most of a long job, and a watcher looks often."""
    held_out = job.spec.plan.holdout_fraction > 0 or job.schema.split_holdout_rows > 0
    evaluated = bool(job.spec.dataset) and held_out
    count = 0
    for item in job.rounds:
        if item.state != job_pb2.ROUND_STATE_MERGED or (evaluated and not item.metrics):
            break
        count += 1
    return count


def _view(worker: str, attempt: LiveAttempt) -> job_pb2.TaskProgress:
    return job_pb2.TaskProgress(
        kind=f"TASK_KIND_{attempt.kind}",
        round=attempt.round,
        shard=attempt.shard,
        worker=names.worker(worker),
        fence=attempt.fence,
        state=task_pb2.TASK_STATE_LEASED if attempt.leased else task_pb2.TASK_STATE_ASSIGNED,
        phase=task_pb2.TaskPhase.Name(attempt.phase),
        step=attempt.step,
        total_steps=attempt.total_steps,
        loss=attempt.loss,
        samples_per_s=attempt.samples_per_s,
    )
