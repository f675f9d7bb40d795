"""Claims work, does it, reports it.

Two lanes, each with a long-poll Claim of its own: checks, several side by side, and merges with sums, one at a time. A
held Claim cannot be widened, so a lane that shared one would either wait behind the other or hold work that another
aggregator could do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import grpc

from trainnet.aggregator.engine import Agree
from trainnet.aggregator.errors import AggregatorError, Cancelled
from trainnet.aggregator.transport.coordinator import Coordinator, RefusedError, Report, jittered
from trainnet.runtime.log import get_logger
from trainnet.runtime.store import StoreError, StoreUnavailable
from trainnet.v1.job_pb2 import Weighing
from trainnet.v1.merge_pb2 import MergeTask, ReportFailureRequest
from trainnet.v1.task_pb2 import TASK_KIND_CHECK, TASK_KIND_MERGE, TASK_KIND_SUM, TaskKind

Do = Callable[[MergeTask, threading.Event, Agree], Report]

_WAIT = timedelta(seconds=20)
_DEFAULT_TTL = 30.0
_HASTY_SECONDS = 0.5
# After SIGTERM: checks may finish within this, merges hand their claim back at once.
_FINISH_SECONDS = 3.0
_HAND_BACK_SECONDS = 3.0
_LOOK_SECONDS = 0.1  # a call to the coordinator that is away notices that the claim was lost this soon


@dataclass
class Lane:
    """Kinds of work that share a capacity."""

    kinds: Sequence[TaskKind]
    capacity: int
    free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.free = asyncio.Semaphore(self.capacity)

    async def take(self) -> int:
        """Waits for a free place, takes all that are free and says how many."""
        await self.free.acquire()
        count = 1
        while not self.free.locked():
            await self.free.acquire()
            count += 1
        return count

    def give(self, count: int) -> None:
        for _ in range(count):
            self.free.release()


@dataclass
class _Running:
    task: MergeTask
    cancel: threading.Event = field(default_factory=threading.Event)
    lost: bool = False

    @property
    def ttl(self) -> float:
        seconds = self.task.ttl.ToTimedelta().total_seconds()
        return seconds if seconds > 0 else _DEFAULT_TTL


class Claims:
    """The aggregator's loop. `do` works in a thread and looks at its event now and then."""

    def __init__(self, coordinator: Coordinator, do: Do, *, checks: int, on_ready: Callable[[], None]) -> None:
        self._coordinator, self._do, self._on_ready = coordinator, do, on_ready
        self._lanes = [Lane([TASK_KIND_CHECK], checks), Lane([TASK_KIND_MERGE, TASK_KIND_SUM], 1)]
        self._pool = ThreadPoolExecutor(sum(lane.capacity for lane in self._lanes), thread_name_prefix="work")
        self._running: dict[int, _Running] = {}
        self._started = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger(__name__)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then finishes or hands back what it holds. Raises RefusedError when a claim is refused."""
        checks, merges = self._lanes
        loops = [
            asyncio.create_task(self._claim(checks, on_first=self._on_ready), name="claim checks"),
            asyncio.create_task(self._claim(merges), name="claim merges"),
            asyncio.create_task(self._renew(), name="renew"),
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*loops, stopped], return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                finished.result()
        finally:
            for loop in (*loops, stopped):
                loop.cancel()
            await asyncio.gather(*loops, stopped, return_exceptions=True)
            await self._drain()
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _claim(self, lane: Lane, *, on_first: Callable[[], None] | None = None) -> None:
        hasty = 0  # empty answers in a row that came at once
        while True:
            free = await lane.take()
            began = time.monotonic()
            tasks: list[MergeTask] = []
            try:
                # Ready means heard, so the first answer must not wait for work.
                tasks = await self._coordinator.claim(lane.kinds, free, _WAIT if on_first is None else timedelta())
            finally:
                lane.give(max(0, free - len(tasks)))
            for task in tasks:
                self._begin(task, lane)
            if on_first is not None:
                on_first()
                on_first = None
            elif tasks or time.monotonic() - began > _HASTY_SECONDS:
                hasty = 0
            else:
                # A coordinator that does not hold the call (it drains) must not be asked in a tight loop.
                await asyncio.sleep(jittered(hasty))
                hasty += 1

    def _begin(self, task: MergeTask, lane: Lane) -> None:
        running = _Running(task)
        self._running[task.fence] = running
        self._started.set()
        work = asyncio.create_task(self._work(running), name=f"fence {task.fence}")
        self._tasks.add(work)

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._running.pop(task.fence, None)
            lane.give(1)

        work.add_done_callback(ended)

    async def _work(self, running: _Running) -> None:
        task = running.task
        log = self._log.bind(fence=task.fence, round=task.round, kind=task.WhichOneof("work"))
        try:
            report = await self._result(running)
        except Cancelled:
            if running.lost:
                log.info("claim lost, work dropped")
                return
            report = ReportFailureRequest(fence=task.fence, message="the aggregator is stopping")
        except RefusedError as refused:
            if refused.error.code is grpc.StatusCode.FAILED_PRECONDITION:
                log.warning("weighings refused, work dropped", error=str(refused))
                return
            log.error("work failed", error=str(refused))  # noqa: TRY400  # the message has all the facts
            report = ReportFailureRequest(fence=task.fence, message=str(refused)[:2000])
        except (AggregatorError, StoreError) as error:
            log.error("work failed", error=str(error))  # noqa: TRY400  # the message has all the facts
            report = ReportFailureRequest(fence=task.fence, message=f"{type(error).__name__}: {error}"[:2000])
        except Exception as error:
            log.exception("work failed unexpectedly")
            report = ReportFailureRequest(fence=task.fence, message=f"{type(error).__name__}: {error}"[:2000])
        try:
            await self._coordinator.report(report)
        except RefusedError as refused:
            log.warning("report refused, work dropped", error=str(refused))
        else:
            log.debug("reported", report=type(report).__name__)

    async def _result(self, running: _Running) -> Report:
        """Works until there is an answer. A store that is away is waited for as long as the claim lives."""
        loop = asyncio.get_running_loop()
        agree = partial(self._agree, loop, running)
        attempt = 0
        while True:
            try:
                return await loop.run_in_executor(self._pool, self._do, running.task, running.cancel, agree)
            except StoreUnavailable as error:
                if running.cancel.is_set():
                    raise Cancelled from None
                self._log.warning("store away, trying again", fence=running.task.fence, error=str(error))
                await asyncio.sleep(jittered(attempt))
                attempt += 1

    def _agree(self, loop: asyncio.AbstractEventLoop, running: _Running, weighings: list[Weighing]) -> list[Weighing]:
        """Asks from the thread that works. Raises Cancelled, RefusedError."""
        call = self._coordinator.report_weighings(running.task.fence, weighings)
        answer = asyncio.run_coroutine_threadsafe(call, loop)
        while True:
            try:
                return answer.result(_LOOK_SECONDS)
            except TimeoutError:
                if running.cancel.is_set():
                    answer.cancel()
                    raise Cancelled from None

    async def _renew(self) -> None:
        while True:
            self._started.clear()
            if not self._running:
                await self._started.wait()
            await asyncio.sleep(min((running.ttl for running in self._running.values()), default=0.0) / 3)
            held = dict(self._running)
            if not held:
                continue
            live = await self._coordinator.renew(list(held))
            for fence in held.keys() - live:
                held[fence].lost = True
                held[fence].cancel.set()

    async def _drain(self) -> None:
        """Checks may finish; the rest is cancelled between two slices and handed back."""
        if not self._tasks:
            return
        for running in self._running.values():
            if running.task.WhichOneof("work") != "check":
                running.cancel.set()
        _, left = await asyncio.wait(self._tasks, timeout=_FINISH_SECONDS)
        if left:
            for running in self._running.values():
                running.cancel.set()
            _, left = await asyncio.wait(left, timeout=_HAND_BACK_SECONDS)
        for task in left:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*left, return_exceptions=True)
