"""Who is connected to this replica and what they hold: the live side of the sessions and attempts in SQL.

Leases are kept by worker, not by stream: a worker that reconnects in time keeps them. Deadlines are monotonic.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainnet.coordinator.domain.scheduling import Candidate
from trainnet.coordinator.domain.states import Pool
from trainnet.v1 import worker_pb2

REMEMBERED_SHARDS = 100_000


@dataclass
class LiveAttempt:
    """One assignment or lease of a worker, until it is decided, given back or expired."""

    fence: int
    kind: str
    job: str
    round: int
    shard: int
    leased: bool
    deadline: float
    """Monotonic seconds: until when an assignment may be accepted, or a lease lasts without a heartbeat."""
    expires: float
    """The same by the wall clock, for the worker."""
    phase: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float = 0.0
    samples_per_s: float = 0.0


@dataclass
class WorkerSession:
    worker: str
    epoch: int
    pool: Pool
    incarnation: str
    capabilities: worker_pb2.Capabilities
    drained: bool
    paused: bool = False
    cold_slots: int = 0
    cached: frozenset[str] = frozenset()
    connected: bool = True
    seen: float = 0.0
    attempts: dict[int, LiveAttempt] = field(default_factory=dict)
    outgoing: asyncio.Queue[worker_pb2.ConnectResponse | None] = field(default_factory=asyncio.Queue)
    """What the stream sends next; None ends it."""

    def send(self, **message: object) -> None:
        if self.connected:
            self.outgoing.put_nowait(worker_pb2.ConnectResponse(**message))  # type: ignore[arg-type]

    @property
    def takes_work(self) -> bool:
        """Whether it takes new work now, or as soon as a slot is free and warm."""
        return self.connected and not self.paused and not self.drained

    @property
    def free_slots(self) -> int:
        warm = self.capabilities.slots - self.cold_slots
        return max(0, warm - len(self.attempts)) if self.takes_work else 0

    def candidate(self) -> Candidate:
        return Candidate(
            self.worker, self.free_slots, self.pool, frozenset(self.capabilities.architectures), self.cached
        )


class Sessions:
    """The sessions of this replica."""

    def __init__(self) -> None:
        self._by_worker: dict[str, WorkerSession] = {}
        self._holders: dict[int, str] = {}
        self._last_trained: OrderedDict[tuple[str, int], str] = OrderedDict()

    def __iter__(self) -> Iterator[WorkerSession]:
        return iter(list(self._by_worker.values()))

    def get(self, worker: str) -> WorkerSession | None:
        return self._by_worker.get(worker)

    def open(self, session: WorkerSession) -> None:
        """The newest hello wins: an older session of the worker ends."""
        before = self._by_worker.get(session.worker)
        if before is not None:
            before.connected = False
            before.outgoing.put_nowait(None)
            for fence in before.attempts:
                self._holders.pop(fence, None)
        self._by_worker[session.worker] = session
        for fence in session.attempts:
            self._holders[fence] = session.worker

    def closed(self, session: WorkerSession) -> None:
        """The stream is gone; the leases live on until their deadlines."""
        session.connected = False

    def forget(self, session: WorkerSession) -> None:
        """Neither stream nor leases are left."""
        if self._by_worker.get(session.worker) is session and not session.attempts and not session.connected:
            del self._by_worker[session.worker]

    def hold(self, worker: str, attempt: LiveAttempt) -> None:
        session = self._by_worker.get(worker)
        if session is not None:
            session.attempts[attempt.fence] = attempt
            self._holders[attempt.fence] = worker

    def drop(self, worker: str, fence: int) -> LiveAttempt | None:
        """The attempt is not this worker's to work on any more; its slot is free. Nothing happens to somebody else's:
        fences are easy to guess."""
        if self._holders.get(fence) != worker:
            return None
        del self._holders[fence]
        session = self._by_worker.get(worker)
        return session.attempts.pop(fence, None) if session is not None else None

    def call_back(self, worker: str, fence: int, reason: str) -> None:
        """The attempt must stop: frees its slot and tells the worker, if it is connected here."""
        self.drop(worker, fence)
        session = self._by_worker.get(worker)
        if session is not None:
            session.send(cancel=worker_pb2.Cancel(fence=fence, reason=reason))

    def trained(self, job: str, shard: int, worker: str) -> None:
        """Remembers who has a shard, so that it goes there again."""
        self._last_trained[job, shard] = worker
        self._last_trained.move_to_end((job, shard))
        if len(self._last_trained) > REMEMBERED_SHARDS:
            self._last_trained.popitem(last=False)

    def last_trained(self, job: str, shard: int) -> str:
        return self._last_trained.get((job, shard), "")

    def of_job(self, job: str) -> Iterator[tuple[str, LiveAttempt]]:
        """(worker, attempt) of everything under way for a job here."""
        for session in self:
            for attempt in session.attempts.values():
                if attempt.job == job:
                    yield session.worker, attempt
