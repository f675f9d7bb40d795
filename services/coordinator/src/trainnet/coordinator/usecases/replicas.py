"""Which replicas of the coordinator are alive: each says so in a row of its own, by the clock that they share."""

from sqlalchemy import delete, select, update

from trainnet.coordinator.storage.schema import replicas
from trainnet.coordinator.usecases.context import Context

FORGET_SECONDS = 3600.0
"""Rows of replicas that were silent for so long are nobody's any more."""


class Replicas:
    def __init__(self, context: Context, own: str) -> None:
        self._context = context
        self.own = own

    async def alive(self) -> set[str]:
        """Gives this replica's sign of life; answers the others that gave one within the time of a lease."""
        now = self._context.clock()
        async with self._context.database.write() as tx:
            if not await tx.changed(update(replicas).where(replicas.c.id == self.own).values(seen=now)):
                await tx.execute(replicas.insert().values(id=self.own, seen=now))
            await tx.execute(delete(replicas).where(replicas.c.seen < now - FORGET_SECONDS))
            heard_of = replicas.c.seen >= now - self._context.settings.lease_ttl
            return {row.id for row in await tx.all(select(replicas.c.id).where(heard_of)) if row.id != self.own}
