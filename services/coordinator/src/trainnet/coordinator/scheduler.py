"""Gives ready tasks to the free slots of this replica's own sessions, as soon as either appears."""

import asyncio

from nats.aio.client import Client

from trainnet.coordinator.domain.scheduling import match
from trainnet.coordinator.domain.states import Pool
from trainnet.coordinator.domain.tasks import SPENT_PAUSE
from trainnet.coordinator.messaging.assignments import ring
from trainnet.coordinator.sessions import LiveAttempt, Sessions, WorkerSession
from trainnet.coordinator.storage.database import Conflict, DatabaseAway
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.offers import Offers, ready_task
from trainnet.runtime.log import get_logger

LOOK_AHEAD = 256
"""Ready tasks looked at in one pass, at least."""
HEARTBEATS_MISSED = 3
"""A worker that missed so many gets nothing new until it is heard again."""


class Scheduler:
    def __init__(self, context: Context, offers: Offers, sessions: Sessions, nats: Client) -> None:
        self._context = context
        self._offers = offers
        self._sessions = sessions
        self._nats = nats
        self._wanted = asyncio.Event()
        self._log = get_logger(__name__)

    def wake(self) -> None:
        self._wanted.set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await self._wanted.wait()
            except TimeoutError:
                pass  # tasks that another replica made ready, and pauses that ended
            self._wanted.clear()
            try:
                while await self.pass_once():
                    pass
            except Conflict:
                self._wanted.set()
            except DatabaseAway as error:
                self._log.warning("no work is given out", error=str(error.__cause__))  # the next look is in a second

    async def pass_once(self) -> int:
        """One look at what is ready and who is free; answers how many tasks were given out."""
        present = [session for session in self._sessions if session.takes_work and not self._silent(session)]
        candidates = [session.candidate() for session in present if session.free_slots]
        if not candidates:
            return 0
        free = sum(candidate.free_slots for candidate in candidates)
        trusted = any(candidate.pool is Pool.TRUSTED for candidate in candidates)
        able = {name for candidate in candidates for name in candidate.architectures}
        looked_at = await self._offers.ready(trusted=trusted, architectures=able, limit=max(LOOK_AHEAD, 2 * free))
        rows = {row.id: row for row in looked_at}
        if not rows:
            return 0
        everyone = [session.candidate() for session in present]
        long_ago = self._context.clock() - SPENT_PAUSE * self._context.settings.lease_ttl
        taken = await self._offers.taken(rows.values())
        ready = [
            ready_task(
                row,
                self._sessions.last_trained(row.job, row.shard) if row.job else "",
                lingers=row.ready < long_ago,
                taken=taken.get(row.id, frozenset()),
            )
            for row in rows.values()
        ]
        if any(task.shunned.spent for task in ready):
            everyone += await self._offers.elsewhere({session.worker for session in self._sessions})
        matches = match(ready, everyone)
        if not matches:
            return 0
        offers = await self._offers.offer(matches, rows)
        deadline = self._context.monotonic() + self._context.settings.accept_ttl
        for offer in offers:
            task = offer.task
            self._sessions.hold(
                offer.worker,
                LiveAttempt(
                    fence=offer.fence,
                    kind=task.kind,
                    job=task.job or "",
                    round=task.round,
                    shard=task.shard,
                    leased=False,
                    deadline=deadline,
                    expires=offer.expires,
                ),
            )
        for offer in offers:
            await ring(self._nats, offer)
            self._log.debug(
                "assigned", fence=offer.fence, worker=offer.worker, kind=offer.task.kind, job=offer.task.job
            )
        return len(offers)

    def _silent(self, session: WorkerSession) -> bool:
        """A frozen worker's stream stands for long; without this the shard that it caches would be offered to it
        again and again, while others idle. Its next heartbeat makes the scheduler look again."""
        silence = self._context.monotonic() - session.seen
        return silence > HEARTBEATS_MISSED * self._context.settings.heartbeat_interval
