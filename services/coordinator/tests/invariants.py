"""The invariants of the design that rows and objects can show."""

from typing import Any

from sqlalchemy import func, select

from trainnet.coordinator.domain.states import ENDED_TASKS, LIVE_ATTEMPTS
from trainnet.coordinator.storage.database import Database, Transaction
from trainnet.coordinator.storage.schema import attempts, contributions, rounds, tasks, updates
from trainnet.runtime.store import ObjectNotFound, ObjectStore


async def assert_invariants(database: Database, store: ObjectStore, *, settled: bool = True) -> None:
    """I1, I2, I4, I5 and I6 of the design; I3 is the aggregator's."""
    async with database.read() as tx:
        accepted = await tx.all(select(updates).where(updates.c.state == "ACCEPTED"))
        places = [(row.job, row.round, row.shard) for row in accepted]
        assert len(places) == len(set(places)), "I1: two accepted updates for a shard"
        earned = {(row.fence, row.examples) for row in await tx.all(select(contributions))}
        assert earned >= {(row.fence, row.examples) for row in accepted}, "I2: an update without contribution"
        assert len(earned) == await _count(tx, contributions), "I2: a contribution twice"
        for row in accepted:
            attempt = await tx.one(select(attempts).where(attempts.c.fence == row.fence))
            assert attempt is not None
            assert attempt.state == "DONE", "I4: accepted by a fence that is not the one that counts"
        live = await tx.all(
            select(attempts.c.task, func.count().label("number"))
            .where(attempts.c.state.in_(LIVE_ATTEMPTS))
            .group_by(attempts.c.task)
        )
        assert all(row.number == 1 for row in live), "two live attempts"
        if settled:
            open_tasks = await tx.all(select(tasks).where(tasks.c.state.not_in(ENDED_TASKS)))
            assert not open_tasks, f"I5: {[(row.kind, row.state) for row in open_tasks]}"
        kept = await tx.all(select(rounds).where(rounds.c.state == "MERGED", ~rounds.c.collected))
    for row in kept:
        for key, size in [(row.merged_key, row.merged_size), (row.base_key, row.base_size)]:
            assert _size(store, key) == size, "I6: a row without its object"
        for item in accepted:
            if (item.job, item.round) == (row.job, row.number):
                assert _size(store, item.object_key) == item.object_size, "I6: a row without its object"


async def _count(tx: Transaction, table: Any) -> int:
    row = await tx.one(select(func.count()).select_from(table))
    assert row is not None
    return int(row[0])


def _size(store: ObjectStore, key: str) -> int | None:
    try:
        return store.stat(key).size
    except ObjectNotFound:
        return None
