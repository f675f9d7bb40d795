"""How an open round ends: with its last shard, with its quorum once the deadline is over or all other shards
were given up, or not at all. Whoever calls has locked the round's row: of several who find the same, one decides."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, bindparam, func, literal, select, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.rounds import Close, Standing, decide_close, explained
from trainnet.coordinator.domain.staleness import told
from trainnet.coordinator.domain.states import (
    ENDED_TASKS,
    Pool,
    Priority,
    RoundState,
    TaskKind,
    TaskState,
    UpdateState,
)
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.events import emit
from trainnet.coordinator.storage.schema import rounds, tasks, updates
from trainnet.coordinator.storage.statements import change, fetch_all
from trainnet.coordinator.usecases import carrying, late_updates
from trainnet.coordinator.usecases import rounds as life
from trainnet.v1 import events_pb2

_COUNT_ACCEPTED = (
    update(rounds)
    .where(rounds.c.job == bindparam("by_job"), rounds.c.number == bindparam("by_number"))
    .values(accepted=rounds.c.accepted + 1)
    .returning(rounds)
)


def shards_of(row: Row[Any]) -> Sequence[int]:
    """Shards that a round trains, rising."""
    return range(row.shards) if row.sampled is None else json.loads(row.sampled)


async def shard_accepted(tx: Transaction, job_id: str, number: int, now: float) -> bool:
    """Counts one more accepted shard of a round and closes the round where that was enough; answers whether it goes on.
    Of any number of shards no other row is looked at."""
    row = await tx.one(_COUNT_ACCEPTED, {"by_job": job_id, "by_number": number})
    if row is None:
        return False
    decision = _decide(row, now)
    if decision.close:
        await _close(tx, row, decision, now)
    elif row.backup_after and row.accepted == 1:
        # From now on there is a measure for who takes long.
        await change(tx, rounds, {"job": job_id, "number": number}, due=now)
        tx.effects.timers_set = True
    return not decision.close


async def shard_given_up(tx: Transaction, row: Row[Any], now: float) -> None:
    """A TRAIN task of the round was given up; its shard too, unless a backup of it, or what it backs up, goes on."""
    lost = await _given_up(tx, row)
    this = {"job": row.job, "number": row.number}
    await change(tx, rounds, this, given_up=len(lost))
    await settle(tx, row, now, given_up=lost)


async def settle(tx: Transaction, row: Row[Any], now: float, given_up: dict[int, str] | None = None) -> bool:
    """Ends an open round where it is time to; answers whether it did."""
    lost = await _given_up(tx, row) if given_up is None else given_up
    decision = _decide(row, now, given_up=len(lost))
    if decision.close:
        await _close(tx, row, decision, now, given_up=lost)
    elif decision.fail:
        reason = explained(decision, [], list(lost.values()))
        this = {"job": row.job, "number": row.number}
        await change(tx, rounds, this, state=RoundState.FAILED, decision=reason, closed=now, due=None)
        await life.fail_job(tx, row.job, f"round {row.number}: {reason}", now)
    return decision.close or decision.fail


def _decide(row: Row[Any], now: float, given_up: int | None = None) -> Close:
    return decide_close(
        Standing(
            shards=row.shards,
            accepted=row.accepted,
            given_up=row.given_up if given_up is None else given_up,
            quorum=row.quorum,
            buffer=row.buffer,
            overdue=row.deadline is not None and row.deadline <= now,
        )
    )


async def _given_up(tx: Transaction, row: Row[Any]) -> dict[int, str]:
    """Shards that nobody trains any more, and why."""
    given_up = await fetch_all(
        tx, tasks, job=row.job, round=row.number, kind=TaskKind.TRAIN, state=TaskState.QUARANTINED
    )
    if not given_up:
        return {}
    going_on = await tx.all(
        select(tasks.c.shard).where(
            tasks.c.job == row.job,
            tasks.c.round == row.number,
            tasks.c.kind == TaskKind.TRAIN,
            tasks.c.shard.in_([item.shard for item in given_up]),
            tasks.c.state.not_in(tuple(ENDED_TASKS - {TaskState.DONE})),
        )
    )
    saved = {item.shard for item in going_on}
    return {
        item.shard: f"shard {item.shard} {item.message}"
        for item in sorted(given_up, key=lambda item: item.shard)
        if item.shard not in saved
    }


async def _close(
    tx: Transaction, row: Row[Any], decision: Close, now: float, given_up: dict[int, str] | None = None
) -> None:
    """Freezes the manifest: from here on no update of the round is accepted any more. Where there is a buffer and a
    next round, what is late goes on; else it is refused."""
    job_id, number, reason = row.job, row.number, decision.reason
    goes_on = await carrying.goes_on(tx, row)
    why = carrying.CHECKED_LATER if goes_on else f"the round was closed without it: {reason}"
    if row.accepted < row.shards:
        lost = await _given_up(tx, row) if given_up is None else given_up
        bases = await carrying.bases_of(tx, row)
        late = [] if goes_on else sorted(set(shards_of(row)) - set(bases) - set(lost))
        reason = explained(decision, late, list(lost.values()), told(bases, number))
        if not goes_on:
            await late_updates.refuse_of_round(tx, job_id, number, why, now)
    this = {"job": job_id, "number": number, "state": RoundState.OPEN}
    await change(tx, rounds, this, state=RoundState.MERGING, decision=reason, closed=now, due=None)
    # A group that is not summed yet is summed by the merge itself.
    done_without = [TaskKind.SUM, TaskKind.CHECK, *([] if goes_on else [TaskKind.TRAIN])]
    await task_store.cancel_of_round(tx, job_id, number, done_without, now, why)
    merge = {
        "kind": TaskKind.MERGE,
        "identity": f"merge/{job_id}/{number}",
        "job": job_id,
        "round": number,
        "pool": Pool.TRUSTED,
        "priority": Priority.PREPARATION,
    }
    await task_store.add(tx, [merge], now)
    closed = events_pb2.RoundClosed(round=names.round_of(job_id, number), decision=reason)
    await emit(tx, job_id, events_pb2.Event(round_closed=closed), now)
    tx.effects.changed.add(names.job(job_id))


async def add_sum_when_complete(tx: Transaction, round_row: Row[Any], shard: int, now: float) -> None:
    """With the last member of a group accepted, its sum can be made ahead of the round's close."""
    size = round_row.group_size
    trained = shards_of(round_row)
    if size > trained[-1]:
        return
    group = shard // size
    members = [index for index in range(group * size, (group + 1) * size) if index in trained]
    accepted = await tx.one(
        select(func.count()).where(
            updates.c.job == round_row.job,
            updates.c.round == round_row.number,
            updates.c.shard.in_(members),
            updates.c.state == literal(UpdateState.ACCEPTED, literal_execute=True),  # as the partial index has it
        )
    )
    if accepted is not None and accepted[0] == len(members):
        task = {
            "kind": TaskKind.SUM,
            "identity": f"sum/{round_row.job}/{round_row.number}/{group}",
            "job": round_row.job,
            "round": round_row.number,
            "shard": group,
            "pool": Pool.TRUSTED,
            "priority": Priority.EVALUATION,
        }
        await task_store.add(tx, [task], now)
