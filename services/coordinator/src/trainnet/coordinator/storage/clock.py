"""The clock that replicas share."""

import time

from trainnet.coordinator.storage.database import Database


class SharedClock:
    """Unix seconds by the database's clock, carried on by this machine's monotonic one from one look to the next.

    What one replica writes another one judges, and the clocks of their machines may be minutes apart.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ahead = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    async def look(self) -> None:
        """Sets it. Raises DatabaseAway."""
        before = time.monotonic()
        now = await self._database.time()
        self._ahead = now - (before + time.monotonic()) / 2
