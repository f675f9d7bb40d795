"""What is to be done about open rounds because of the time alone: their deadlines, and backups of stragglers.

When that is stands in the round's row, so a restart forgets nothing, and replicas that look at the same moment find it
done: each look locks the row and moves its time on.
"""

from sqlalchemy import func, select

from trainnet.coordinator.domain.states import RoundState
from trainnet.coordinator.storage.schema import rounds
from trainnet.coordinator.storage.statements import change, fetch
from trainnet.coordinator.usecases import backups, closing
from trainnet.coordinator.usecases.context import Context

BATCH = 100


class Timers:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def next(self) -> float | None:
        """When the next round has to be looked at, by the shared clock; None where none has."""
        async with self._context.database.read() as tx:
            row = await tx.one(select(func.min(rounds.c.due)).where(rounds.c.due.is_not(None)))
        return None if row is None else row[0]

    async def due(self) -> list[tuple[str, int]]:
        """(job, number) of rounds whose time has come, a batch of them."""
        query = (
            select(rounds.c.job, rounds.c.number)
            .where(rounds.c.due <= self._context.clock(), rounds.c.due.is_not(None))
            .order_by(rounds.c.due)
            .limit(BATCH)
        )
        async with self._context.database.read() as tx:
            return [(row.job, row.number) for row in await tx.all(query)]

    async def look(self, job: str, number: int) -> bool:
        """Does what is due of a round; answers whether it was closed."""
        async with self._context.database.write() as tx:
            now = self._context.clock()
            row = await fetch(tx, rounds, lock=True, job=job, number=number)
            if row is None or row.due is None or row.due > now:
                return False  # another replica was here
            this = {"job": job, "number": number}
            if row.state != RoundState.OPEN:
                await change(tx, rounds, this, due=None)
                return False
            if await closing.settle(tx, row, now):
                return True
            again = [await backups.begin(tx, row, now)]
            if row.deadline is not None and row.deadline > now:
                again.append(row.deadline)
            await change(tx, rounds, this, due=min((moment for moment in again if moment is not None), default=None))
        return False
