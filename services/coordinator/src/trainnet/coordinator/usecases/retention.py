"""Old rounds are collected: the last ones stay verifiable, the rest of their bytes is freed.

Verifying round n needs its base, which is the merged weights of round n - 1. So with `keep` rounds the updates of the
last `keep` stay, and the merged weights of one more. A row is marked before its bytes go: what a crash leaves behind
is found again by its mark.
"""

import asyncio
from typing import Any

from sqlalchemy import Row, select, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import ENDED_TASKS, RoundState, TaskKind
from trainnet.coordinator.storage.schema import jobs, rounds, tasks, uploads
from trainnet.coordinator.storage.schema import updates as updates_table
from trainnet.coordinator.usecases.context import Context

BATCH = 20


class Retention:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def collect(self) -> int:
        """Collects a batch of rounds that are old enough; answers how many."""
        keep = self._context.settings.keep_rounds
        waiting = (
            select(tasks.c.id)
            .where(
                tasks.c.job == rounds.c.job,
                tasks.c.round <= rounds.c.number,  # collecting a round takes the weights of the one before it
                tasks.c.kind == TaskKind.EVALUATE,
                tasks.c.state.not_in(tuple(ENDED_TASKS)),
            )
            .exists()
        )
        query = (
            select(rounds)
            .join_from(rounds, jobs, jobs.c.id == rounds.c.job)
            .where(
                rounds.c.state == RoundState.MERGED,
                ~rounds.c.freed,
                rounds.c.number <= jobs.c.merged_rounds - keep,
                ~waiting,
            )
            .order_by(rounds.c.job, rounds.c.number)
            .limit(BATCH)
        )
        async with self._context.database.read() as tx:
            rows = await tx.all(query)
        for row in rows:
            await self._collect(row)
        return len(rows)

    async def _collect(self, row: Row[Any]) -> None:
        store = self._context.store
        async with self._context.database.write() as tx:
            await tx.execute(
                update(rounds).where(rounds.c.job == row.job, rounds.c.number == row.number).values(collected=True)
            )
            unfinished = await tx.all(
                select(uploads.c.object_key, uploads.c.upload_id)
                .join_from(uploads, updates_table, updates_table.c.fence == uploads.c.fence, isouter=True)
                .where(
                    uploads.c.object_key.startswith(names.updates_prefix(row.job, row.number), autoescape=True),
                    uploads.c.upload_id.is_not(None),
                    ~uploads.c.completed,
                )
            )
        for item in unfinished:
            await asyncio.to_thread(store.abort_multipart, item.object_key, item.upload_id)
        await asyncio.to_thread(store.delete_prefix, names.updates_prefix(row.job, row.number))
        # The merged weights of this round are the base of the next, which may still be verifiable.
        # A round's own weights therefore go with the round after it.
        before = row.number - 1
        if before >= 1:
            await asyncio.to_thread(store.delete_prefix, names.round_prefix(row.job, before))
        else:
            await asyncio.to_thread(store.delete_prefix, f"jobs/{row.job}/base/")
        async with self._context.database.write() as tx:
            await tx.execute(
                update(rounds).where(rounds.c.job == row.job, rounds.c.number == row.number).values(freed=True)
            )
