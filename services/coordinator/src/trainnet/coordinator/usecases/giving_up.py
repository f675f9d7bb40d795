"""Tasks that went wrong: they go to somebody else, or whoever needed them hears that they were given up."""

from typing import Any

from sqlalchemy import Row, select

from trainnet.coordinator.domain.states import RoundState, TaskKind, TaskState
from trainnet.coordinator.domain.tasks import EXPECTED, Mishap, abandoned
from trainnet.coordinator.storage import mishaps
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import jobs, rounds, tasks
from trainnet.coordinator.storage.statements import fetch
from trainnet.coordinator.usecases import closing, exports, shard_plans
from trainnet.coordinator.usecases import rounds as life
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.datasets import Datasets

_ESCALATED = select(tasks).where(tasks.c.state == TaskState.READY, tasks.c.escalated).limit(100)


class GivingUp:
    def __init__(self, context: Context, datasets: Datasets) -> None:
        self._context = context
        self._datasets = datasets

    async def mishap(self, tx: Transaction, row: Row[Any], mishap: Mishap, message: str, now: float) -> None:
        """An attempt ended without a result: the task goes to somebody else, or is given up."""
        settings = self._context.settings
        verdict = await mishaps.note(
            tx, row, mishap, message, now, expected=EXPECTED * settings.lease_ttl, patience=settings.trusted_patience
        )
        if verdict.quarantine:
            await self.given_up(tx, row, verdict.reason, now)

    async def give_up(self, tx: Transaction, row: Row[Any], reason: str, now: float) -> None:
        """Gives a task up, whatever its history says."""
        if await mishaps.give_up(tx, row, reason):
            await self.given_up(tx, row, reason, now)

    async def give_up_abandoned(self) -> list[tuple[str, int, int]]:
        """Gives up what strangers could not do and no trusted worker came for; answers (job, round, shard) of each."""
        now = self._context.clock()
        since = now - self._context.settings.trusted_patience
        async with self._context.database.read() as tx:
            waiting = await tx.all(_ESCALATED)
            there = {
                name: await mishaps.trusted_since(tx, since, name) for name in {row.architecture for row in waiting}
            }
        given_up = []
        for found in waiting:
            if there[found.architecture]:
                continue
            async with self._context.database.write() as tx:
                row = await fetch(tx, tasks, lock=True, id=found.id, state=TaskState.READY)
                if row is not None:
                    await self.give_up(tx, row, abandoned(mishaps.history_of(row)), now)
                    given_up.append((row.job, row.round, row.shard))
        return given_up

    async def given_up(self, tx: Transaction, row: Row[Any], reason: str, now: float) -> None:
        """A task was quarantined: whoever needed it hears why."""
        match row.kind:
            case TaskKind.INSPECT:
                await self._datasets.failed(tx, row.dataset, reason, now)
            case TaskKind.PREPARE:
                await shard_plans.failed(tx, row.plan, reason, now)
            case TaskKind.INITIALIZE:
                await life.fail_job(tx, row.job, f"making the initial weights: {reason}", now)
            case TaskKind.TRAIN:
                round_row = await self.lock_round(tx, row.job, row.round)
                if round_row is not None:
                    await closing.shard_given_up(tx, round_row, now)
            case TaskKind.EVALUATE:
                job = await fetch(tx, jobs, lock=True, id=row.job)
                if job is not None:
                    await life.finish_job(tx, job, now)
            case TaskKind.EXPORT:
                await exports.failed(tx, row.job, reason)
            case TaskKind.MERGE:
                await life.fail_job(tx, row.job, f"merging round {row.round}: {reason}", now)

    async def lock_round(self, tx: Transaction, job: str, number: int) -> Row[Any] | None:
        """The round's row, open, locked against a decision at the same time."""
        return await fetch(tx, rounds, lock=True, job=job, number=number, state=RoundState.OPEN)
