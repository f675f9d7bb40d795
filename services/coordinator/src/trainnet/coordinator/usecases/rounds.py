"""The life of a job after its creation: rounds open, close, merge and are evaluated, each step in the transaction of
what caused it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, bindparam, func, literal, select, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.rounds import decide_close, group_size
from trainnet.coordinator.domain.states import (
    ENDED_JOBS,
    ENDED_TASKS,
    JobState,
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
from trainnet.coordinator.storage.objects import artifact_values
from trainnet.coordinator.storage.schema import jobs, rounds, shards, tasks, updates
from trainnet.coordinator.storage.statements import add, change, fetch, fetch_all
from trainnet.coordinator.usecases import evaluations, exports, merge_policies
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.v1 import artifact_pb2, events_pb2, job_pb2, merge_pb2, task_pb2


async def move_job(
    tx: Transaction,
    job_id: str,
    sources: frozenset[JobState],
    target: JobState,
    now: float,
    message: str = "",
    **values: Any,
) -> bool:
    """Compare-and-set of a job's state, told to everybody."""
    moved = await tx.changed(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(tuple(sources)))
        .values(state=target, message=message, **values)
    )
    if moved:
        name = names.job(job_id)
        state = f"JOB_STATE_{target}"
        changed = events_pb2.JobChanged(job=name, state=state, message=message)
        await emit(tx, job_id, events_pb2.Event(job_changed=changed), now)
        tx.effects.changed.add(name)
    return moved


ACTIVE = frozenset(JobState) - ENDED_JOBS


async def open_round(
    tx: Transaction,
    job: Row[Any],
    number: int,
    base: artifact_pb2.Artifact,
    now: float,
    optimizer: artifact_pb2.Artifact | None = None,
) -> None:
    """Round OPEN, its TRAIN tasks READY, its event queued: all or nothing. It starts from the weights `base` and the
    state `optimizer` of the server's optimiser."""
    spec = job_spec(job)
    count = spec.plan.shards
    opened_round = {
        "job": job.id,
        "number": number,
        "state": RoundState.OPEN,
        "group_size": group_size(count, base.size_bytes),
        "shards": count,
        "opened": now,
        **artifact_values("base", base),
    }
    if optimizer is not None:
        opened_round |= artifact_values("base_optimizer", optimizer)
    await add(tx, rounds, opened_round)
    digests = {}
    if job.plan is not None:
        digests = {row.shard: row.data_digest for row in await fetch_all(tx, shards, plan=job.plan)}
    pool = Pool.PUBLIC if spec.pool == job_pb2.POOL_PUBLIC else Pool.TRUSTED
    await task_store.add(
        tx,
        (
            {
                "kind": TaskKind.TRAIN,
                "identity": f"train/{job.id}/{number}/{shard}",
                "job": job.id,
                "round": number,
                "shard": shard,
                "architecture": spec.architecture,
                "shard_digest": digests.get(shard, ""),
                "pool": pool,
                "priority": Priority.TRAINING,
            }
            for shard in range(count)
        ),
        now,
    )
    opened = events_pb2.RoundOpened(round=names.round_of(job.id, number), shards=count)
    await emit(tx, job.id, events_pb2.Event(round_opened=opened), now)
    tx.effects.changed.add(names.job(job.id))


_COUNT_ACCEPTED = (
    update(rounds)
    .where(rounds.c.job == bindparam("by_job"), rounds.c.number == bindparam("by_number"))
    .values(accepted=rounds.c.accepted + 1)
    .returning(rounds.c.accepted, rounds.c.shards)
)


async def shard_accepted(tx: Transaction, job_id: str, number: int, now: float) -> bool:
    """Counts one more accepted shard of a round and closes the round with the last; answers whether it goes on. Called
    with the round's row locked. Of any number of shards no other row is looked at."""
    counted = await tx.one(_COUNT_ACCEPTED, {"by_job": job_id, "by_number": number})
    if counted is None:
        return False
    decision = decide_close(counted.shards, counted.accepted, 0, [])
    if decision.close:
        await _close(tx, job_id, number, decision.reason, now)
    return not decision.close


async def shard_given_up(tx: Transaction, row: Row[Any], now: float) -> None:
    """Fails the round of a TRAIN task that was given up. Called with the round's row, `row`, locked."""
    this = {"job": row.job, "number": row.number}
    lost = await fetch_all(tx, tasks, job=row.job, round=row.number, kind=TaskKind.TRAIN, state=TaskState.QUARANTINED)
    reasons = [f"shard {item.shard} {item.message}" for item in sorted(lost, key=lambda item: item.shard)]
    decision = decide_close(row.shards, row.accepted, len(lost), reasons)
    if decision.fail:
        await change(tx, rounds, this, state=RoundState.FAILED, decision=decision.reason, closed=now)
        await fail_job(tx, row.job, f"round {row.number}: {decision.reason}", now)


async def _close(tx: Transaction, job_id: str, number: int, reason: str, now: float) -> None:
    """Freezes the manifest: from here on no update of the round is accepted any more."""
    this = {"job": job_id, "number": number, "state": RoundState.OPEN}
    await change(tx, rounds, this, state=RoundState.MERGING, decision=reason, closed=now)
    # A group that is not summed yet is summed by the merge itself.
    await task_store.cancel_of_round(tx, job_id, number, (TaskKind.SUM, TaskKind.CHECK), now)
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
    if size >= round_row.shards:
        return
    group = shard // size
    members = range(group * size, min((group + 1) * size, round_row.shards))
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


async def round_merged(
    tx: Transaction, job_id: str, number: int, report: merge_pb2.ReportMergeRequest, now: float
) -> bool:
    """Commits the pointers to the merged weights and to the optimiser's state, and in the same transaction goes on:
    evaluation, next round. Raises MergedOtherwise for a report that lacks the state or has one too many."""
    values = {"merged_sha256": report.sha256, "merged": now, **artifact_values("merged", report.merged)}
    state = report.optimizer_state if report.HasField("optimizer_state") else None
    if state is not None:
        values |= {"optimizer_sha256": report.optimizer_state_sha256, **artifact_values("optimizer", state)}
    merging = {"job": job_id, "number": number, "state": RoundState.MERGING}
    if not await change(tx, rounds, merging, state=RoundState.MERGED, **values):
        return False
    event = events_pb2.RoundMerged(round=names.round_of(job_id, number), merged_sha256=report.sha256)
    await emit(tx, job_id, events_pb2.Event(round_merged=event), now)
    await change(tx, jobs, {"id": job_id}, merged_rounds=number)
    job = await fetch(tx, jobs, id=job_id)
    if job is None:
        return True
    spec = job_spec(job)
    merge_policies.check_report(spec.merge, told=state is not None)
    await evaluations.begin(tx, job, number, now)
    if number < spec.rounds:
        await open_round(tx, job, number + 1, report.merged, now, optimizer=state)
    else:
        await finish_job(tx, job, now)
    tx.effects.changed.add(names.job(job_id))
    return True


async def round_evaluated(
    tx: Transaction,
    job_id: str,
    number: int,
    metrics: Mapping[str, float],
    confusion: task_pb2.Confusion | None,
    now: float,
) -> None:
    await evaluations.keep(tx, job_id, number, metrics, confusion, now)
    job = await fetch(tx, jobs, lock=True, id=job_id)
    if job is not None:
        await finish_job(tx, job, now)


async def finish_job(tx: Transaction, job: Row[Any], now: float) -> None:
    """SUCCEEDED once every round is merged and no evaluation is left. Called with the job's row locked: of the last two
    evaluations, ending at the same moment, each would find the other one left."""
    if job.merged_rounds < job_spec(job).rounds:
        return
    left = await tx.one(
        select(func.count()).where(
            tasks.c.job == job.id, tasks.c.kind == TaskKind.EVALUATE, tasks.c.state.not_in(tuple(ENDED_TASKS))
        )
    )
    done = left is not None and left[0] == 0
    if done and await move_job(tx, job.id, ACTIVE, JobState.SUCCEEDED, now, ended=now):
        await exports.begin(tx, job, now)


async def fail_job(tx: Transaction, job_id: str, reason: str, now: float) -> None:
    """Ends a job that cannot go on; its model so far stays."""
    if await move_job(tx, job_id, ACTIVE, JobState.FAILED, now, message=reason, ended=now):
        await _stop(tx, job_id, RoundState.FAILED, now)


async def cancel_job(tx: Transaction, job_id: str, now: float) -> None:
    """Ends a job for its owner. A merge that was reported first stays, and so does the model."""
    if await move_job(tx, job_id, ACTIVE, JobState.CANCELLED, now, message="cancelled by its owner", ended=now):
        await _stop(tx, job_id, RoundState.CANCELLED, now)
        job = await fetch(tx, jobs, id=job_id)
        if job is not None:
            await exports.begin(tx, job, now)


async def _stop(tx: Transaction, job_id: str, state: RoundState, now: float) -> None:
    await tx.execute(
        update(rounds)
        .where(rounds.c.job == job_id, rounds.c.state.in_((RoundState.OPEN, RoundState.MERGING)))
        .values(state=state, closed=now)
    )
    await task_store.cancel_of_job(tx, job_id, now)
