"""What the exporter of a model is told: all that its card says, from rows."""

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import Row, select

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import UpdateState
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import datasets, jobs, plans, rounds, shards, updates
from trainnet.coordinator.storage.statements import fetch, fetch_all
from trainnet.coordinator.usecases.errors import NoSuchResource
from trainnet.coordinator.usecases.model_specs import job_spec, model_spec, parts_of
from trainnet.coordinator.usecases.policy_words import codec_words, merge_words, participation_words
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.v1 import task_pb2

ROUNDS = 1000
LISTED_ROUNDS = 20
LISTED_UPDATES = 2000
"""Updates that a spec lists, some 300 KB: those of the newest rounds, as many of them as have room."""
READ_UPDATES = 20_000
"""Updates that are read for the training loss of their rounds."""


async def export_spec(tx: Transaction, uploads: Uploads, task: Row[Any]) -> task_pb2.TaskSpec:
    """The spec of an EXPORT task, with downloads."""
    job = await fetch(tx, jobs, id=task.job)
    if job is None:
        raise NoSuchResource(names.job(task.job))
    spec = job_spec(job)
    described = task_pb2.ExportSpec(
        model=model_spec(job),
        parts=parts_of(uploads, job),
        round=task.round,
        display_name=spec.display_name,
        plan=spec.plan,
        rounds=await _records(tx, job, task.round),
        epochs=spec.epochs,
        local_steps=spec.local_steps,
        merge=merge_words(spec),
        codec=codec_words(spec),
        participation=participation_words(spec),
    )
    if spec.HasField("base"):
        described.base.CopyFrom(spec.base)
    first = await fetch(tx, rounds, job=job.id, number=1)
    if first is not None:
        described.initial_digest = first.base_digest
    last = await fetch(tx, rounds, job=job.id, number=task.round)
    weights = None if last is None else uploads.artifact(last, "merged", download=True)
    if last is None or weights is None:
        raise NoSuchResource(names.round_of(job.id, task.round))
    described.weights.CopyFrom(weights)
    if last.confusion is not None:
        described.confusion.ParseFromString(last.confusion)
    dataset = await fetch(tx, datasets, id=job.dataset) if job.dataset else None
    if dataset is not None:
        described.dataset_name = dataset.display_name
    plan = await fetch(tx, plans, id=job.plan) if job.plan else None
    if plan is not None:
        described.holdout_rows = plan.holdout_rows or 0
        cut = await fetch_all(tx, shards, plan=plan.id)
        described.shard_rows.extend(item.rows for item in sorted(cut, key=lambda item: item.shard))
    return task_pb2.TaskSpec(job=names.job(job.id), export=described)


async def _records(tx: Transaction, job: Row[Any], number: int) -> list[task_pb2.RoundRecord]:
    """The newest rounds up to this one, in order, after what the job started from."""
    query = (
        select(rounds.c.number, rounds.c.metrics, rounds.c.merged_sha256)
        .where(rounds.c.job == job.id, rounds.c.number <= number, rounds.c.merged_key.is_not(None))
        .order_by(rounds.c.number.desc())
        .limit(ROUNDS)
    )
    merged = await _updates(tx, job.id, number)
    records = []
    room = LISTED_UPDATES
    for index, row in enumerate(await tx.all(query)):
        accepted = merged.get(row.number, [])
        record = task_pb2.RoundRecord(
            number=row.number,
            metrics=json.loads(row.metrics),
            merged_sha256=row.merged_sha256 or "",
            train_loss=_train_loss(accepted),
        )
        room -= len(accepted)
        if index < LISTED_ROUNDS and room >= 0:
            record.updates.extend(
                task_pb2.UpdateRecord(
                    shard=item.shard,
                    worker=names.worker(item.worker),
                    digest=item.object_digest,
                    examples=item.examples,
                )
                for item in accepted
            )
        records.append(record)
    initial = json.loads(job.initial_metrics)
    if initial:
        records.append(task_pb2.RoundRecord(number=0, metrics=initial))
    return records[::-1]


async def _updates(tx: Transaction, job: str, number: int) -> dict[int, list[Row[Any]]]:
    """Accepted updates of the newest rounds up to this one, each round's by shard, as many whole rounds as are read."""
    query = (
        select(
            updates.c.round,
            updates.c.shard,
            updates.c.worker,
            updates.c.object_digest,
            updates.c.examples,
            updates.c.metrics,
        )
        .where(updates.c.job == job, updates.c.round <= number, updates.c.state == UpdateState.ACCEPTED)
        .order_by(updates.c.round.desc(), updates.c.shard)
        .limit(READ_UPDATES + 1)
    )
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    rows = await tx.all(query)
    for row in rows:
        found[row.round].append(row)
    if len(rows) > READ_UPDATES:
        del found[min(found)]  # the limit cut through it
    return found


def _train_loss(accepted: list[Row[Any]]) -> float:
    """Mean loss that the updates reported, weighted by examples; 0 where none did."""
    losses = [(item.examples, json.loads(item.metrics).get("loss")) for item in accepted]
    known = [(examples, loss) for examples, loss in losses if loss is not None]
    total = sum(examples for examples, _ in known)
    return sum(examples * loss for examples, loss in known) / total if total else 0.0
