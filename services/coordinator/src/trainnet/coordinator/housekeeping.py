"""What must happen when nothing else happens: leases expire, sessions are flushed, old rounds are collected.

Every loop works from rows and deadlines, never from what was sent: a lost message is healed here at the latest.
"""

import asyncio

from trainnet.coordinator.sessions import Sessions
from trainnet.coordinator.storage.database import DatabaseAway, NotNow
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.datasets import Datasets
from trainnet.coordinator.usecases.giving_up import GivingUp
from trainnet.coordinator.usecases.leases import Leases
from trainnet.coordinator.usecases.leftovers import Leftovers
from trainnet.coordinator.usecases.models import Models
from trainnet.coordinator.usecases.retention import Retention
from trainnet.coordinator.usecases.sweeping import Sweeping
from trainnet.runtime.errors import Unavailable
from trainnet.runtime.lifecycle import wait_or_stop
from trainnet.runtime.log import get_logger
from trainnet.runtime.store_errors import StoreError

COLLECT_SECONDS = 2.0
SWEEP_SECONDS = 600.0
"""Between two passes over what the store holds: it grows by what came too late, which is little."""
STALL_SECONDS = 0.5
"""Later than this by its own timer, a process was stopped or starved."""


class Housekeeping:
    def __init__(
        self, context: Context, leases: Leases, giving_up: GivingUp, sessions: Sessions, retention: Retention
    ) -> None:
        self._context = context
        self._leases = leases
        self._giving_up = giving_up
        self._sessions = sessions
        self._retention = retention
        self._sweeping = Sweeping(context)
        self._leftovers = Leftovers(context)
        self._sources = (Datasets(context), Models(context))
        self._started = context.monotonic()
        self._log = get_logger(__name__)

    async def expire(self, stop: asyncio.Event) -> None:
        """Ends what is over: this replica's own leases by the monotonic clock, aggregators' claims and orphans of
        other incarnations by the database's, the latter after one lease of grace from our own start."""
        settings = self._context.settings
        period = min(1.0, settings.lease_ttl / 8)
        asleep = self._context.monotonic()
        while not await wait_or_stop(stop, period):
            now = self._context.monotonic()
            self._forgive(now - asleep - period, now)
            try:
                await self._expire_once(now)
            except NotNow as error:
                self._log.warning("nothing expires yet", error=error.message, cause=str(error.__cause__))
                if isinstance(error, DatabaseAway):
                    self._started = self._context.monotonic()  # no replica could renew anything
            asleep = self._context.monotonic()

    async def _expire_once(self, now: float) -> None:
        settings = self._context.settings
        for session in self._sessions:
            for attempt in list(session.attempts.values()):
                if attempt.deadline < now:
                    self._sessions.drop(session.worker, attempt.fence)
                    try:
                        expired = await self._leases.expire(attempt.fence, leased=attempt.leased)
                    except NotNow:
                        self._sessions.hold(session.worker, attempt)  # and looked at again
                        raise
                    if expired:
                        what = "lease" if attempt.leased else "assignment"
                        self._log.warning(
                            f"{what} expired", fence=attempt.fence, worker=session.worker, job=attempt.job
                        )
            self._sessions.forget(session)
        up = now - self._started
        if up > settings.claim_ttl:
            for fence in await self._leases.expired_claims():
                if await self._leases.expire_overdue(fence):
                    self._log.warning("claim expired", fence=fence)
        if up > settings.lease_ttl:
            await self._leases.close_lost_sessions(2 * settings.lease_ttl)
            mine = [fence for session in self._sessions for fence in session.attempts]
            for job, number, shard in await self._giving_up.give_up_abandoned():
                self._log.warning("no trusted worker came for it", job=job, round=number, shard=shard)
            for fence in await self._leases.orphans(mine, settings.lease_ttl):
                if await self._leases.expire_overdue(fence, settings.lease_ttl):
                    self._log.warning("orphaned lease expired", fence=fence)

    def _forgive(self, stalled: float, now: float) -> None:
        """This process stood still: nobody could renew anything, and what was said meanwhile is not read yet. Leases
        get the time back, all else one TTL of grace as after a start."""
        if stalled < STALL_SECONDS:
            return
        self._log.warning("this process stood still", seconds=round(stalled, 1))
        self._started = now
        for session in self._sessions:
            for attempt in session.attempts.values():
                attempt.deadline += stalled

    async def flush(self, stop: asyncio.Event) -> None:
        """Sessions and leases live in memory between flushes; SQL hears of them in one batch."""
        period = max(0.2, self._context.settings.lease_ttl / 4)
        while True:
            stopping = await wait_or_stop(stop, period)
            now, wall = self._context.monotonic(), self._context.clock()
            seen = {
                session.worker: wall
                for session in self._sessions
                if session.connected and now - session.seen < 2 * period
            }
            holders = {
                attempt.fence: session.worker
                for session in self._sessions
                for attempt in session.attempts.values()
                if attempt.leased and attempt.deadline > now
            }
            try:
                for fence in await self._leases.flush(seen, list(holders)):
                    self._sessions.call_back(holders[fence], fence, "the attempt is not live any more")
            except NotNow as error:
                self._log.warning("sessions are not written yet", error=error.message, cause=str(error.__cause__))
            if stopping:
                return

    async def sweep(self, stop: asyncio.Event) -> None:
        """A page of the store's uploads at a time, for ever, and what owners never finished to upload or to delete."""
        while not await wait_or_stop(stop, SWEEP_SECONDS):
            try:
                passes = [await self._sweeping.sweep(), await self._leftovers.sweep()]
                forgotten = [await source.forget_unfinished() for source in self._sources]
            except (StoreError, Unavailable) as error:
                self._log.warning("the store is not swept yet", error=str(error))
                continue
            objects, unfinished = sum(item.objects for item in passes), sum(item.uploads for item in passes)
            if objects or unfinished:
                self._log.info("removed uploads that nothing knows of", objects=objects, unfinished=unfinished)
            if any(forgotten):
                self._log.info(
                    "removed what nobody finished to upload or to delete", datasets=forgotten[0], models=forgotten[1]
                )

    async def collect(self, stop: asyncio.Event) -> None:
        while not await wait_or_stop(stop, COLLECT_SECONDS):
            try:
                while await self._retention.collect():
                    pass
            except (StoreError, NotNow) as error:
                self._log.warning("old rounds are not collected yet", error=str(error))
