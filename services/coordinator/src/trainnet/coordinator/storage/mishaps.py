"""What became of a task in whose hands, kept with the task; the rules are those of `domain/tasks.py`."""

import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, bindparam, or_, select

from trainnet.coordinator.domain import tasks as rules
from trainnet.coordinator.domain.scheduling import Candidate
from trainnet.coordinator.domain.states import Pool, TaskState
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import sessions, workers
from trainnet.coordinator.storage.tasks import make_ready, move
from trainnet.v1 import worker_pb2

HELD = (TaskState.ASSIGNED, TaskState.LEASED, TaskState.CHECKING)
LOOKED_AT = 256
"""Workers asked for when one is sought who could do a task: nearly all of them can do nearly all tasks."""

_THERE = (
    select(workers.c.id, workers.c.pool, workers.c.capabilities)
    .join_from(sessions, workers, workers.c.id == sessions.c.worker)
    .where(
        or_(sessions.c.open, sessions.c.seen > bindparam("since")),
        ~workers.c.banned,
        ~workers.c.drained,
        ~workers.c.paused,
        workers.c.pool.in_(bindparam("pools", expanding=True)),
        workers.c.id.not_in(bindparam("without", expanding=True)),
    )
    .limit(LOOKED_AT)
)
_TRUSTED = (
    select(workers.c.id, workers.c.pool, workers.c.capabilities)
    .join_from(sessions, workers, workers.c.id == sessions.c.worker)
    .where(
        sessions.c.seen > bindparam("since"),
        ~workers.c.banned,
        ~workers.c.drained,
        workers.c.pool == Pool.TRUSTED,
        workers.c.id.not_in(bindparam("without", expanding=True)),
    )
    .limit(LOOKED_AT)
)


def history_of(row: Row[Any]) -> dict[str, rules.Record]:
    """The history in a task's row."""
    return {worker: rules.Record(**record) for worker, record in json.loads(row.history).items()}


def to_json(history: rules.History) -> str:
    return json.dumps({worker: asdict(record) for worker, record in history.items()})


async def present(
    tx: Transaction, *, since: float, pools: Collection[Pool] = tuple(Pool), without: Collection[str] = ()
) -> list[Candidate]:
    """Workers of any replica that are online, or were after `since`, and take work; none of their slots is known to be
    free. Some of them, where they are very many."""
    return _candidates(await tx.all(_THERE, {"since": since, "pools": list(pools), "without": list(without)}))


async def trusted_since(tx: Transaction, since: float, architecture: str, without: Collection[str] = ()) -> bool:
    """Whether there is a trusted worker that can do this and was seen after `since`."""
    rows = await tx.all(_TRUSTED, {"since": since, "without": list(without)})
    return any(not architecture or architecture in item.architectures for item in _candidates(rows))


def _candidates(rows: list[Row[Any]]) -> list[Candidate]:
    return [
        Candidate(
            row.id,
            0,
            Pool(row.pool),
            frozenset(worker_pb2.Capabilities.FromString(row.capabilities).architectures),
        )
        for row in rows
    ]


async def note(
    tx: Transaction,
    row: Row[Any],
    mishap: rules.Mishap,
    message: str,
    now: float,
    *,
    expected: float,
    patience: float,
) -> rules.Verdict:
    """Writes down what happened at the attempt's holder and does with the task what follows: READY for somebody else,
    for trusted workers alone, or QUARANTINED. `expected`: seconds that somebody who left is expected back for,
    `patience`: the same for trusted workers where only they are left to ask."""
    holder = await tx.one(select(workers.c.pool).where(workers.c.id == row.holder))
    trusted = holder is not None and holder.pool == Pool.TRUSTED
    history = rules.noted(history_of(row), row.holder, trusted=trusted, mishap=mishap, message=message)
    public = row.pool == Pool.PUBLIC
    pools = tuple(Pool) if public else (Pool.TRUSTED,)
    shunned = rules.shunned(history)

    async def somebody(without: frozenset[str]) -> bool:
        found = await present(tx, since=now - expected, pools=pools, without=without)
        return any(not row.architecture or row.architecture in item.architectures for item in found)

    fresh = await somebody(shunned.spent)
    crowd = rules.Crowd(
        fresh,
        untried=fresh or await somebody(shunned.failed),
        trusted=public and await trusted_since(tx, now - patience, row.architecture, shunned.failed),
    )
    verdict = rules.after_mishap(history, row.holder, mishap, crowd, public=public)
    kept = {"history": to_json(history), "message": message}
    match verdict.step:
        case rules.Step.QUARANTINE:
            await give_up(tx, row, verdict.reason, history=kept["history"])
        case rules.Step.ESCALATE:
            await make_ready(tx, row, now, pool=Pool.TRUSTED, escalated=True, **kept | {"message": verdict.reason})
        case rules.Step.AGAIN:
            await make_ready(tx, row, now, **kept)
    return verdict


async def give_up(tx: Transaction, row: Row[Any], reason: str, **values: Any) -> bool:
    """QUARANTINED, whatever its history says."""
    return await move(tx, row.id, (TaskState.READY, *HELD), TaskState.QUARANTINED, message=reason, **values)
