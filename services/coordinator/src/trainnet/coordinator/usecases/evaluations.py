"""Evaluations of merged weights, and of what a job starts from."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.events import emit
from trainnet.coordinator.storage.schema import jobs, plans, rounds
from trainnet.coordinator.storage.statements import change, fetch
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.v1 import events_pb2, task_pb2

KEPT_CONFUSIONS = 3
"""Rounds whose confusion matrix is kept: the newest, and some more for evaluations that come out of order."""
MAX_CLASSES = 100
_NAME = 200


async def begin(tx: Transaction, job: Row[Any], number: int, now: float) -> None:
    """A task to evaluate the weights after a round, where there is a holdout; round 0 are those that the job starts
    from."""
    plan = await fetch(tx, plans, id=job.plan) if job.plan else None
    if plan is None or plan.holdout_key is None:
        return
    task = {
        "kind": TaskKind.EVALUATE,
        "identity": f"evaluate/{job.id}/{number}",
        "job": job.id,
        "round": number,
        "architecture": job_spec(job).architecture,
        "pool": Pool.TRUSTED,
        "priority": Priority.EVALUATION,
    }
    await task_store.add(tx, [task], now)


async def keep(
    tx: Transaction,
    job_id: str,
    number: int,
    metrics: Mapping[str, float],
    confusion: task_pb2.Confusion | None,
    now: float,
) -> None:
    """Writes down what an evaluation found, and tells it."""
    evaluated = json.dumps(dict(metrics), sort_keys=True)
    tx.effects.changed.add(names.job(job_id))
    if number == 0:
        await change(tx, jobs, {"id": job_id}, initial_metrics=evaluated)
        return
    if confusion is None:
        await change(tx, rounds, {"job": job_id, "number": number}, metrics=evaluated)
    else:
        values = {"metrics": evaluated, "confusion": confusion.SerializeToString()}
        await change(tx, rounds, {"job": job_id, "number": number}, **values)
        old = number - KEPT_CONFUSIONS
        await tx.execute(
            update(rounds)
            .where(rounds.c.job == job_id, rounds.c.number.between(old - KEPT_CONFUSIONS, old))
            .values(confusion=None)
        )
    event = events_pb2.RoundEvaluated(round=names.round_of(job_id, number), metrics=metrics)
    await emit(tx, job_id, events_pb2.Event(round_evaluated=event), now)


def sound(result: task_pb2.TaskResult) -> task_pb2.Confusion | None:
    """The confusion matrix of a result, where it is one: square, of at most 100 classes with names of some length."""
    confusion = result.evaluate.confusion
    count = len(confusion.classes)
    if not 1 <= count <= MAX_CLASSES or len(confusion.counts) != count * count or min(confusion.counts) < 0:
        return None
    return task_pb2.Confusion(classes=[name[:_NAME] for name in confusion.classes], counts=confusion.counts)
