"""Looks at open rounds when their time comes: sleeps until then, and is woken when a time is set here.

Other replicas set times too; should one die before it acts on them, a look now and then by those that are left heals
that.
"""

import asyncio

from trainnet.coordinator.storage.database import Conflict, NotNow
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.timers import Timers
from trainnet.runtime.log import get_logger

LOOK_SECONDS = 5.0
"""For times that were set elsewhere by a replica that is gone."""


class Deadlines:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._timers = Timers(context)
        self._wanted = asyncio.Event()
        self._log = get_logger(__name__)

    def wake(self) -> None:
        """A time was set."""
        self._wanted.set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wanted.clear()  # before the look, so that nothing is missed in between
            try:
                pause = await self.look()
            except Conflict:
                continue
            except NotNow as error:
                self._log.warning("no round is looked at", error=error.message, cause=str(error.__cause__))
                pause = LOOK_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def look(self) -> float:
        """Does what is due; answers the seconds until something is again."""
        while found := await self._timers.due():
            for job, number in found:
                if await self._timers.look(job, number):
                    self._log.info("round decided by its deadline", job=job, round=number)
        soonest = await self._timers.next()
        if soonest is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, soonest - self._context.clock()))
