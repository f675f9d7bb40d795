"""Backups of stragglers: a shard that takes far longer than the round's accepted ones is given to a second worker too.

A backup is a TRAIN task of its own beside the one that it backs up: it has its own attempts and fences, and the first
of the two whose update is accepted ends the other one.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, select

from trainnet.coordinator.domain.participation import patience
from trainnet.coordinator.domain.states import ENDED_TASKS, LIVE_ATTEMPTS, AttemptState, TaskKind, UpdateState
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import attempts, tasks, updates


async def begin(tx: Transaction, round_row: Row[Any], now: float) -> float | None:
    """Makes the backups that an open round needs by now; answers when to look again, or None where there is nobody to
    look after. Called with the round's row locked."""
    if not round_row.backup_after or not round_row.accepted:
        return None  # the first acceptance asks for a look
    limit = patience(round_row.backup_after, await _durations(tx, round_row))
    again = None
    stragglers = []
    for task in await _without_backup(tx, round_row):
        began = task.assigned if task.attempt_state in (AttemptState.ASSIGNED, AttemptState.LEASED) else None
        if began is not None and began + limit <= now:
            stragglers.append(task)
        else:
            # One that nobody is at can take too long from its next attempt on, and that has not begun yet.
            due = (now if began is None else began) + limit
            again = due if again is None else min(again, due)
    await task_store.add(tx, [_backup(task) for task in stragglers], now)
    return again


async def holders(tx: Transaction, tasks_: Collection[int]) -> dict[int, set[str]]:
    """By task: who is at it."""
    query = select(attempts.c.task, attempts.c.holder).where(
        attempts.c.task.in_(tuple(tasks_)), attempts.c.state.in_(tuple(LIVE_ATTEMPTS))
    )
    found: dict[int, set[str]] = {}
    for row in await tx.all(query):
        found.setdefault(row.task, set()).add(row.holder)
    return found


async def _durations(tx: Transaction, round_row: Row[Any]) -> list[float]:
    """Seconds from assignment to acceptance of the round's accepted attempts."""
    query = (
        select(attempts.c.assigned, updates.c.decided)
        .join_from(updates, attempts, attempts.c.fence == updates.c.fence)
        .where(
            updates.c.job == round_row.job,
            updates.c.round == round_row.number,
            updates.c.state == UpdateState.ACCEPTED,
        )
    )
    return [row.decided - row.assigned for row in await tx.all(query)]


async def _without_backup(tx: Transaction, round_row: Row[Any]) -> list[Row[Any]]:
    """Open TRAIN tasks of a round that neither are nor have a backup, each with its live attempt where it has one."""
    backup = tasks.alias("backup")
    query = (
        select(tasks, attempts.c.assigned, attempts.c.state.label("attempt_state"))
        .join_from(
            tasks,
            attempts,
            (attempts.c.task == tasks.c.id) & attempts.c.state.in_(tuple(LIVE_ATTEMPTS)),
            isouter=True,
        )
        .where(
            tasks.c.job == round_row.job,
            tasks.c.round == round_row.number,
            tasks.c.kind == TaskKind.TRAIN,
            tasks.c.backup_of.is_(None),
            tasks.c.state.not_in(tuple(ENDED_TASKS)),
            ~select(backup.c.id)
            .where(
                backup.c.job == round_row.job,
                backup.c.round == round_row.number,
                backup.c.backup_of == tasks.c.id,
            )
            .exists(),
        )
        .order_by(tasks.c.id)
    )
    return await tx.all(query)


def _backup(task: Row[Any]) -> dict[str, Any]:
    """The same work for somebody else; who it went wrong with already gets it last here too."""
    same = ("kind", "job", "round", "shard", "architecture", "shard_digest", "pool", "priority", "history", "escalated")
    values = {name: getattr(task, name) for name in same}
    return {**values, "identity": f"{task.identity}/backup", "backup_of": task.id}
