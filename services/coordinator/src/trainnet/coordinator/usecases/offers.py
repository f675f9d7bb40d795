"""Workers' tasks on their way out: which are ready, and who was given which."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from trainnet.coordinator.domain.scheduling import Candidate, Match, ReadyTask
from trainnet.coordinator.domain.states import AGGREGATOR_KINDS, AttemptState, Pool, TaskState
from trainnet.coordinator.domain.tasks import EXPECTED, shunned
from trainnet.coordinator.storage import mishaps
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.schema import tasks
from trainnet.coordinator.usecases import backups
from trainnet.coordinator.usecases.context import Context


@dataclass(frozen=True)
class Offer:
    """An assignment that was committed."""

    fence: int
    worker: str
    task: Row[Any]
    expires: float


_READY = (
    select(tasks)
    .where(
        tasks.c.state == TaskState.READY,
        tasks.c.ready <= bindparam("now"),
        tasks.c.kind.not_in(tuple(AGGREGATOR_KINDS)),
        tasks.c.architecture.in_(bindparam("architectures", expanding=True)),
    )
    .order_by(tasks.c.priority, tasks.c.id)
    .limit(bindparam("limit"))
)
_READY_PUBLIC = _READY.where(tasks.c.pool == Pool.PUBLIC)
_ASSIGN = (
    update(tasks)
    .where(tasks.c.id.in_(bindparam("ids", expanding=True)), tasks.c.state == TaskState.READY)
    .values(state=TaskState.ASSIGNED)
    .returning(tasks.c.id)
)


class Offers:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def ready(self, *, trusted: bool, architectures: Collection[str], limit: int) -> list[Row[Any]]:
        """READY tasks for workers in the order they should go out, of these architectures or of none; without
        `trusted`, those that anybody may do."""
        query = _READY if trusted else _READY_PUBLIC
        known = ["", *sorted(architectures)]
        async with self._context.database.read() as tx:
            return await tx.all(query, {"now": self._context.clock(), "architectures": known, "limit": limit})

    async def elsewhere(self, here: Collection[str]) -> list[Candidate]:
        """Workers that are not connected here, but to another replica, or were a moment ago."""
        since = self._context.clock() - EXPECTED * self._context.settings.lease_ttl
        async with self._context.database.read() as tx:
            return [item for item in await mishaps.present(tx, since=since) if item.worker not in here]

    async def offer(self, matches: list[Match], rows: dict[int, Row[Any]]) -> list[Offer]:
        """Assigns by compare-and-set; those that another replica took first are left out."""
        now = self._context.clock()
        expires = now + self._context.settings.accept_ttl
        async with self._context.database.write() as tx:
            taken = await tx.execute(_ASSIGN, {"ids": [item.task for item in matches]})
            won_ids = {row.id for row in taken}
            won = [item for item in matches if item.task in won_ids]
            if not won:
                return []
            values = [
                {
                    "task": item.task,
                    "holder": item.worker,
                    "state": AttemptState.ASSIGNED,
                    "assigned": now,
                    "expires": expires,
                }
                for item in won
            ]
            fences = await task_store.begin_attempts(tx, values)
        return [Offer(fence, item.worker, rows[item.task], expires) for fence, item in zip(fences, won, strict=True)]

    async def taken(self, rows: Collection[Row[Any]]) -> dict[int, frozenset[str]]:
        """By backup among these tasks: who is at its shard already, and must not get that too."""
        backed_up = {row.backup_of for row in rows if row.backup_of is not None}
        if not backed_up:
            return {}
        async with self._context.database.read() as tx:
            at_it = await backups.holders(tx, backed_up)
        return {row.id: frozenset(at_it.get(row.backup_of, ())) for row in rows if row.backup_of is not None}


def ready_task(row: Row[Any], last_worker: str, *, lingers: bool, taken: frozenset[str] = frozenset()) -> ReadyTask:
    return ReadyTask(
        row.id,
        row.priority,
        Pool(row.pool),
        row.architecture,
        row.shard_digest,
        last_worker,
        shunned(mishaps.history_of(row)),
        lingers,
        taken,
    )
