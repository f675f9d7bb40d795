"""What the operator decided of the workers that are connected here, whichever replica was told: drained or banned.

The decision stands in SQL; a replica hears of it at once, and looks by itself in case it did not.
"""

import asyncio
from collections.abc import Callable

from trainnet.coordinator.domain import names
from trainnet.coordinator.sessions import Sessions
from trainnet.coordinator.storage.database import NotNow
from trainnet.coordinator.usecases.workers import Workers
from trainnet.runtime.log import get_logger
from trainnet.v1 import worker_pb2

LOOK_SECONDS = 5.0
PAGE = 1000
"""Sessions asked about in one statement."""


class Admission:
    def __init__(self, workers: Workers, sessions: Sessions, freed: Callable[[], None]) -> None:
        """`freed` is called when a worker may have work again."""
        self._workers = workers
        self._sessions = sessions
        self._freed = freed
        self._wanted = asyncio.Event()
        self._log = get_logger(__name__)

    def wake(self) -> None:
        self._wanted.set()

    def changed(self, name: str) -> None:
        """Something was decided of a worker: until it is known what, the worker gets nothing new here."""
        session = self._sessions.get(names.id_of(name))
        if session is not None:
            session.drained = True
            self._wanted.set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wanted.clear()  # before the look, so that nothing is missed in between
            try:
                await self._look()
            except NotNow as error:
                self._log.warning("who may work is not looked up", error=error.message, cause=str(error.__cause__))
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                pass  # what another replica's message did not bring

    async def _look(self) -> None:
        here = [session for session in self._sessions if session.connected]
        for start in range(0, len(here), PAGE):
            part = here[start : start + PAGE]
            unwanted = await self._workers.unwanted([session.worker for session in part])
            if self._wanted.is_set():
                return  # what was read may be old already: the next look is at once
            for session in part:
                was_drained, session.drained = session.drained, session.worker in unwanted
                if unwanted.get(session.worker):
                    session.send(drain=worker_pb2.Drain(reconnect=False, reason="banned by the operator"))
                    session.outgoing.put_nowait(None)
                elif was_drained and not session.drained:
                    self._freed()
