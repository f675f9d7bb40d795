"""The agent: what it holds, what it takes, and how it stops."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog

from trainnet.v1.events_pb2 import TaskAssigned
from trainnet.v1.task_pb2 import TASK_PHASE_UPLOADING, TaskKind
from trainnet.v1.worker_pb2 import (
    FAIL_REASON_RELEASED,
    OUTCOME_ACCEPTED,
    OUTCOME_REJECTED,
    OUTCOME_STALE_FENCE,
    Accept,
    ConnectRequest,
    ConnectResponse,
    DesiredState,
    Drain,
    Fail,
    Heartbeat,
    HeldTask,
    Hello,
    Lease,
    Result,
    Welcome,
)
from trainnet.worker.agent.cache import ArtifactCache
from trainnet.worker.agent.capabilities import agent_version, capabilities
from trainnet.worker.agent.doorbell import Doorbell
from trainnet.worker.agent.progress import ProgressReporter
from trainnet.worker.agent.record import NO_UPDATE, UNKNOWN_EXAMPLES, Record
from trainnet.worker.agent.session import Session
from trainnet.worker.agent.storage import AgentFolder, Identity
from trainnet.worker.agent.trainers import TrainerProcess
from trainnet.worker.agent.work import Performer, Work
from trainnet.worker.errors import TaskDropped
from trainnet.worker.protocol import Step
from trainnet.worker.settings import WorkerSettings

_OFFER_LIFE = 30.0
_ACCEPT_DEADLINE = 30.0
_CACHED_TOLD = 64
"""A message is at most 256 KiB, and each digest about 75 bytes of it."""


class Agent:
    """Listens to a session, fills free slots, keeps the truth about what is held."""

    def __init__(
        self,
        settings: WorkerSettings,
        identity: Identity,
        folder: AgentFolder,
        trainers: list[TrainerProcess],
        cache: ArtifactCache,
        on_ready: Callable[[], None],
    ) -> None:
        self._settings, self._identity, self._folder = settings, identity, folder
        self._trainers, self._cache, self._on_ready = trainers, cache, on_ready
        self._incarnation = uuid.uuid4().hex
        self._works: dict[int, Work] = {}
        self._accepting: set[int] = set()
        self._offers: OrderedDict[int, float] = OrderedDict()
        self._record = Record(folder)
        self._progress: dict[int, ProgressReporter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._drained = False
        self._cold_told = len(trainers)
        self._idle = asyncio.Event()
        self.session = Session(settings.coordinator, self)
        self.doorbell = Doorbell(self._on_assigned)
        self.performer: Performer | None = None
        self._log = structlog.get_logger(__name__)
        self.become(identity)

    # What the session asks for and tells.

    def become(self, identity: Identity) -> None:
        """Takes on an identity, with the next stream."""
        self._identity = identity
        self.session.use(identity.worker, identity.token)

    def hello(self) -> Hello:
        info = next((trainer.info for trainer in self._trainers if trainer.info is not None), None)
        return Hello(
            worker=self._identity.worker,
            incarnation=self._incarnation,
            version=agent_version(),
            capabilities=capabilities(self._settings, info),
            state=self.heartbeat(),
        )

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            held=[HeldTask(fence=work.fence, phase=work.phase) for work in self._works.values()],
            paused=self._identity.paused or self._stopping,
            cached=self._cache.shard_digests(_CACHED_TOLD),
            cold_slots=self._cold_slots(),
        )

    def _cold_slots(self) -> int:
        return sum(not trainer.warm for trainer in self._trainers)

    def on_trainers_changed(self) -> None:
        """A slot became free, warm or cold. The coordinator hears at once of one that it may count on, or not."""
        cold = self._cold_slots()
        if cold != self._cold_told:
            self._cold_told = cold
            self.session.beat()
        self.fill()

    def on_welcome(self, welcome: Welcome) -> None:
        self._drained = False
        self.doorbell.use(welcome.nats, self._identity.token)
        self._on_ready()

    def on_disconnect(self) -> None:
        # Offers of the old stream come again with the next desired state.
        self._offers.clear()

    def on_drain(self, drain: Drain) -> None:
        self._log.info("coordinator drains this worker", reason=drain.reason, reconnect=drain.reconnect)
        self._drained = not drain.reconnect
        self._offers.clear()

    def on_desired_state(self, desired: DesiredState, held: frozenset[int]) -> None:
        for fence in held.difference(desired.leases):
            work = self._works.get(fence)
            # What was handed in may be off the list already; its answer is on the way.
            if work is not None and not work.reporting:
                self._drop(work, "the coordinator has it on its list no more")
        for assignment in desired.assignments:
            self._offer(assignment.fence)
        for fence in desired.leases:
            # A lease whose answer was lost with a stream: accepting again brings it.
            if fence not in held:
                self._offer(fence)
        self.fill()

    def on_message(self, message: ConnectResponse, *, asked: bool) -> None:
        match message.WhichOneof("message"):
            case "lease" if not asked and message.lease.fence not in self._works:
                if message.lease.fence not in self._record:
                    self._release(message.lease.fence, "nobody waits for this lease any more")
            case "cancel":
                work = self._works.get(message.cancel.fence)
                if work is not None:
                    self._drop(work, message.cancel.reason)
                self._offers.pop(message.cancel.fence, None)
            case "result":
                self._on_result(message.result)
            case _:
                return

    def _on_result(self, result: Result) -> None:
        fence = result.fence
        if result.outcome == OUTCOME_STALE_FENCE:
            self._offers.pop(fence, None)
            work = self._works.get(fence)
            if work is not None:
                self._drop(work, result.message or "stale fence")
        elif result.outcome == OUTCOME_ACCEPTED:
            self._record.accepted(fence)
        elif result.outcome == OUTCOME_REJECTED:
            self._log.warning("an update was rejected", fence=fence, reason=result.message)

    # Taking work.

    def _on_assigned(self, assigned: TaskAssigned) -> None:
        if assigned.worker == self._identity.worker and self.session.connected:
            self._offer(assigned.fence)
            self.fill()

    def _offer(self, fence: int) -> None:
        """Notes an assignment once, whichever way it came. It waits here while no slot is free."""
        if fence in self._works or fence in self._accepting or fence in self._record:
            return
        if self._stopping or self._identity.paused:
            self._release(fence, "the worker is paused" if self._identity.paused else "the worker shuts down")
            return
        # Not by the assignment's own time: clocks of strangers differ. The coordinator refuses what is too late.
        self._offers.setdefault(fence, time.monotonic())

    def fill(self) -> None:
        """Accepts as many offers as there are free slots."""
        if not self.session.connected or self._stopping or self._identity.paused or self._drained:
            return
        oldest = time.monotonic() - _OFFER_LIFE
        while self._offers:
            fence, since = next(iter(self._offers.items()))
            if since < oldest:
                del self._offers[fence]
                continue
            trainer = next((trainer for trainer in self._trainers if trainer.free), None)
            if trainer is None:
                return
            del self._offers[fence]
            trainer.holder = fence
            self._accepting.add(fence)
            self._spawn(self._take(fence, trainer))

    async def _take(self, fence: int, trainer: TrainerProcess) -> None:
        """From accept to the end of the task. The slot is free afterwards, however it ended."""
        try:
            lease = await self._accept(fence)
            if lease is None:
                return
            work = Work(fence, lease.kind, lease.spec, trainer, task=asyncio.current_task())
            self._works[fence] = work
            self._accepting.discard(fence)
            self._progress[fence] = ProgressReporter(work, self._send_progress)
            await self._perform(work)
        finally:
            self._accepting.discard(fence)
            self._works.pop(fence, None)
            trainer.holder = None
            progress = self._progress.pop(fence, None)
            if progress is not None:
                progress.discard()
            self._note_idle()
            self.fill()
            if not self.doorbell.connected:
                # Nobody will ring: ask at once what there is to do.
                self.session.beat()

    async def _accept(self, fence: int) -> Lease | None:
        try:
            async with asyncio.timeout(_ACCEPT_DEADLINE):
                answer = await self.session.exchange.ask(ConnectRequest(accept=Accept(fence=fence)))
        except TimeoutError:
            return None
        if answer.WhichOneof("message") != "lease":
            self._log.debug("assignment gone", fence=fence, reason=answer.result.message)
            self._record.finished(fence)
            return None
        return answer.lease

    async def _perform(self, work: Work) -> None:
        if self.performer is None:
            raise RuntimeError("the agent has not started")
        self._log.debug("task begins", fence=work.fence, kind=TaskKind.Name(work.kind), job=work.spec.job)
        examples = NO_UPDATE
        try:
            _, result = await self.performer.perform(work)
            if work.spec.HasField("train"):
                examples = int(result.metrics.get("examples", UNKNOWN_EXAMPLES))
        except TaskDropped as error:
            self._log.info("task dropped", fence=work.fence, reason=str(error))
        finally:
            self._record.finished(work.fence, examples)

    def _drop(self, work: Work, reason: str) -> None:
        """Stops work that nobody wants; what it produced is not reported."""
        self._log.info("task dropped", fence=work.fence, reason=reason)
        self._record.finished(work.fence)
        self._works.pop(work.fence, None)
        if work.task is not None:
            work.task.cancel()

    def _release(self, fence: int, reason: str) -> None:
        self.session.send(
            ConnectRequest(fail=Fail(fence=fence, reason=FAIL_REASON_RELEASED, message=reason)),
        )

    def on_step(self, work: Work, step: Step) -> None:
        """A task moved on."""
        changed = step.phase != work.step.phase
        work.step = step
        progress = self._progress.get(work.fence)
        if progress is not None:
            progress.report(step)
        if changed and step.phase != TASK_PHASE_UPLOADING:
            self.session.beat(soon=True)

    def on_report(self, work: Work) -> None:
        """A task's answer is about to be sent; progress after it would be about a stale fence."""
        progress = self._progress.pop(work.fence, None)
        if progress is not None:
            progress.close()

    def _send_progress(self, message: ConnectRequest) -> None:
        if not self.session.congested:
            self.session.send(message)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # People's wishes.

    def set_paused(self, paused: bool) -> None:
        """Paused: what is held is finished, nothing new is taken. Outlasts a restart."""
        self._identity = self._folder.save_paused(self._identity, paused=paused)
        for fence in list(self._offers) if paused else []:
            del self._offers[fence]
            self._release(fence, "the worker is paused")
        self.session.beat()
        self.fill()

    def status(self) -> dict[str, Any]:
        """What `trainnet worker status` shows."""
        return {
            "worker": self._identity.worker,
            "coordinator": self._settings.coordinator,
            "connected": self.session.connected,
            "doorbell": self.doorbell.connected,
            "paused": self._identity.paused,
            "stopping": self._stopping,
            "slots": self._settings.slots,
            "warm_slots": sum(trainer.info is not None for trainer in self._trainers),
            "tasks": [work.status() for work in self._works.values()],
            "max_memory_bytes": self._settings.max_memory,
            "threads_per_slot": self._settings.threads_per_slot,
            "max_bandwidth_bytes_per_s": self._settings.max_bandwidth,
            "cache_bytes": self._cache.total_bytes + self._folder.inputs_bytes(),
            "max_cache_bytes": self._settings.max_disk,
            "accepted_updates": self._record.contribution.updates,
            "accepted_examples": self._record.contribution.examples,
        }

    async def stop(self, grace: float) -> None:
        """Takes nothing new, finishes what it can within `grace` seconds, hands the rest back."""
        self._stopping = True
        for fence in self._offers:
            self._release(fence, "the worker shuts down")
        self._offers.clear()
        self.session.beat()
        try:
            async with asyncio.timeout(grace if self.session.connected else 0):
                while self._works or self._accepting:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        held = list(self._works.values())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if held and self.session.connected and self.performer is not None:
            performer = self.performer
            releases = [performer.fail(work, FAIL_REASON_RELEASED, "the worker shuts down") for work in held]
            try:
                async with asyncio.timeout(2):
                    await asyncio.gather(*releases, return_exceptions=True)
            except TimeoutError:
                pass  # the lease runs out by itself
        self._record.save()

    def _note_idle(self) -> None:
        if not self._works and not self._accepting:
            self._idle.set()
