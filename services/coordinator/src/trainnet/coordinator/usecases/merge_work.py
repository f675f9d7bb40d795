"""What an aggregator is told to do: contract messages made from rows."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from sqlalchemy import Row, select

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.staleness import weight
from trainnet.coordinator.domain.states import TaskKind, UpdateState
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import attempts, jobs, rounds, updates
from trainnet.coordinator.storage.statements import change, fetch
from trainnet.coordinator.usecases import codecs, merge_policies, weighings
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.v1 import merge_pb2


async def merge_task(
    tx: Transaction, uploads: Uploads, row: Row[Any], fence: int, ttl: float, now: float
) -> merge_pb2.MergeTask:
    """The work of a claim that lasts `ttl` seconds; notes when the claim was made."""
    lasts = Duration()
    lasts.FromMilliseconds(round(ttl * 1000))
    task = merge_pb2.MergeTask(fence=fence, ttl=lasts, round=names.round_of(row.job, row.round))
    job = await fetch(tx, jobs, id=row.job)
    in_round = {"job": row.job, "number": row.round}
    round_row = await fetch(tx, rounds, **in_round)
    if job is None or round_row is None:
        raise RuntimeError(f"task {row.id} has no job or round")
    spec = job_spec(job)
    base = uploads.artifact(round_row, "base")
    if row.kind == TaskKind.CHECK:
        subject = await fetch(tx, updates, fence=row.subject)
        if subject is None:
            raise RuntimeError(f"task {row.id} checks an update that is not there")
        await change(tx, attempts, {"fence": row.subject}, claimed=now)
        task.check.CopyFrom(
            merge_pb2.CheckWork(
                update=uploads.artifact(subject, "object"),
                base=base,
                max_update_norm=spec.merge.max_update_norm,
                codec=spec.codec,
            )
        )
        return task
    groups = await _groups(tx, uploads, row.job, row.round, round_row.group_size)
    if row.kind == TaskKind.SUM:
        group = next(item for item in groups if item.group == row.shard)
        work = merge_pb2.SumWork(
            group=group.group, terms=group.terms, base=base, key=group.partial_key, codec=spec.codec
        )
        task.sum.CopyFrom(work)
        return task
    await change(tx, rounds, in_round, claimed=now)
    task.merge.CopyFrom(
        merge_pb2.MergeWork(
            groups=groups,
            base=base,
            policy=spec.merge,
            key=names.merged_key(row.job, row.round, fence),
            codec=spec.codec,
        )
    )
    if merge_policies.weighs(spec.merge):
        task.merge.weighings.extend(await weighings.of_round(tx, row.job, row.round))
    if merge_policies.keeps_state(spec.merge):
        state = uploads.artifact(round_row, "base_optimizer")
        if state is not None:
            task.merge.optimizer_state.CopyFrom(state)
        task.merge.optimizer_key = names.optimizer_key(row.job, row.round, fence)
    if codecs.copies(spec, row.round):
        task.merge.copy_key = names.copy_key(row.job, row.round, fence)
    return task


async def _groups(tx: Transaction, uploads: Uploads, job: str, number: int, size: int) -> list[merge_pb2.Group]:
    """The accepted updates of a round by group, each group by shard: the order of the arithmetic."""
    query = (
        select(updates, attempts.c.base_round)
        .join_from(updates, attempts, attempts.c.fence == updates.c.fence)
        .where(updates.c.job == job, updates.c.round == number, updates.c.state == UpdateState.ACCEPTED)
        .order_by(updates.c.shard)
    )
    by_group: dict[int, list[merge_pb2.Term]] = {}
    for row in await tx.all(query):
        counts = weight(row.examples, number - task_store.base_round(row))
        term = merge_pb2.Term(shard=row.shard, update=uploads.artifact(row, "object"), weight=counts, norm=row.norm)
        by_group.setdefault(row.shard // size, []).append(term)
    return [
        merge_pb2.Group(
            group=group,
            terms=terms,
            partial_key=names.partial_key(
                job, number, [(term.shard, term.update.digest, term.weight) for term in terms]
            ),
        )
        for group, terms in sorted(by_group.items())
    ]
