"""Shard plans: data cut once, for every job that asks for the same.

A plan belongs to the data, not to who asked for it. Data sets of the same bytes that are understood alike share their
plans: whoever may read the bytes may read their shards, and there is one owner here. A plan's objects lie apart from
those of data sets, and when the data set that it was cut from is deleted, another one of the same bytes inherits it.
"""

from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain import plans as domain
from trainnet.coordinator.domain.states import JobState, PlanState, Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Conflict, Transaction
from trainnet.coordinator.storage.objects import artifact_values
from trainnet.coordinator.storage.schema import jobs, plans, shards, tasks
from trainnet.coordinator.storage.statements import add_new, change, fetch, fetch_all, remove
from trainnet.coordinator.usecases import rounds as life
from trainnet.coordinator.usecases import starts
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import artifact_pb2, dataset_pb2, task_pb2

SAMPLE = "sample"
"""Rows to train a tokenizer on, where a column holds text."""


def completed(plan: dataset_pb2.ShardPlan, schema: dataset_pb2.DataSchema | None) -> dataset_pb2.ShardPlan:
    """The plan as it will be carried out on data of this schema, or without any. Raises InvalidArgument that names the
    field of a job's spec."""
    data = None
    if schema is not None:
        data = domain.Data(schema.rows, len(schema.classes), schema.split_column, schema.split_holdout_rows)
    try:
        plain = domain.completed(_plain(plan), data)
    except domain.BadPlan as error:
        raise InvalidArgument(str(error), field=f"spec.plan.{error.field}") from None
    return dataset_pb2.ShardPlan(
        kind=f"SHARD_KIND_{plain.kind}",
        shards=plain.shards,
        holdout_fraction=plain.holdout_fraction,
        seed=plain.seed,
        alpha=plain.alpha,
    )


async def cut(tx: Transaction, dataset: Row[Any], plan: dataset_pb2.ShardPlan, now: float) -> str:
    """The id of a completed plan on a data set; one that nobody prepared yet, or that failed, gets a task. Called with
    the data set's row locked."""
    schema = dataset_pb2.DataSchema.FromString(dataset.schema)
    schema.ClearField("warnings")  # words for its owner
    understood = schema.SerializeToString(deterministic=True)
    identity = domain.identity(dataset.format, dataset.source_digest, understood, _plain(plan))
    made = {
        "id": names.new_plan_id(identity),
        "identity": identity,
        "dataset": dataset.id,
        "spec": plan.SerializeToString(),
        "schema": dataset.schema,
        "state": PlanState.PREPARING,
    }
    await add_new(tx, plans, made, key="identity")
    row = await fetch(tx, plans, lock=True, identity=identity)
    if row is None:
        raise Conflict  # it was given up at the same moment
    if row.state == PlanState.FAILED:
        await change(tx, plans, {"id": row.id}, state=PlanState.PREPARING, message="")
        await remove(tx, tasks, identity=f"prepare/{row.id}")
    if row.state != PlanState.READY:
        await _prepare(tx, row.id, row.dataset, now)
    plan_id: str = row.id
    return plan_id


def is_output(name: str) -> bool:
    """Whether a PREPARE task may hand in this."""
    return name in ("holdout", SAMPLE) or name.removeprefix("shard-").isdecimal()


def outputs(result: task_pb2.TaskResult) -> set[str]:
    """What a PREPARE task with this result hands in. Whether there is text to sample the worker knows."""
    wanted = {f"shard-{index}" for index in range(len(result.prepare.shard_rows))}
    if result.prepare.holdout_rows:
        wanted.add("holdout")
    return wanted | {item.output for item in result.outputs if item.output == SAMPLE}


def unusable(plan: Row[Any], result: task_pb2.PrepareResult) -> str:
    """Why a result is not what the plan asked for; empty where it is."""
    count = dataset_pb2.ShardPlan.FromString(plan.spec).shards
    if len(result.shard_rows) != count:
        return f"{len(result.shard_rows)} shards were cut, the plan has {count}"
    if min(result.shard_rows) < 1 or result.holdout_rows < 0:
        return "every shard has at least one row"
    return ""


async def prepared(
    tx: Transaction,
    plan_id: str,
    objects: dict[str, artifact_pb2.Artifact],
    result: task_pb2.PrepareResult,
    now: float,
) -> None:
    """The shards are there: jobs that waited for them go on."""
    made = [
        {"plan": plan_id, "shard": index, "rows": rows, **artifact_values("data", objects[f"shard-{index}"])}
        for index, rows in enumerate(result.shard_rows)
    ]
    await tx.execute(delete(shards).where(shards.c.plan == plan_id))
    await tx.execute(insert(shards), made)
    values: dict[str, Any] = {"state": PlanState.READY, "holdout_rows": result.holdout_rows}
    for output in ("holdout", SAMPLE):
        if output in objects:
            values |= artifact_values(output, objects[output])
    await change(tx, plans, {"id": plan_id}, **values)
    await starts.prepared(tx, plan_id, now)


async def failed(tx: Transaction, plan_id: str, message: str, now: float) -> None:
    """Fails the plan's jobs. A later job with the same plan tries again: the cause may have been a worker."""
    for row in await fetch_all(tx, jobs, plan=plan_id, state=JobState.PREPARING):
        await life.fail_job(tx, row.id, f"preparing the data: {message}", now)
    await change(tx, plans, {"id": plan_id}, state=PlanState.FAILED, message=message)


# --- deletion of data sets ---


async def leave(tx: Transaction, dataset: str, heir: str | None, now: float) -> None:
    """Parts the plans from a data set that goes: to its heir, a data set of the same bytes, or to nobody, and then no
    job can begin with them any more. Called after the data set's tasks were deleted, with all such data sets locked."""
    if heir is None:
        await tx.execute(update(plans).where(plans.c.dataset == dataset).values(identity=None))
        return
    # Those without an identity come from a time when their objects lay with the data set's: they go with it.
    shared = select(plans).where(plans.c.dataset == dataset, plans.c.identity.is_not(None))
    for row in await tx.all(shared):
        await change(tx, plans, {"id": row.id}, dataset=heir)
        if row.state == PlanState.PREPARING:
            await _prepare(tx, row.id, heir, now)


async def left(tx: Transaction, dataset: str) -> list[str]:
    """Ids of the plans that go with a data set."""
    return [row.id for row in await fetch_all(tx, plans, dataset=dataset)]


async def part_from_jobs(tx: Transaction, dataset: str) -> None:
    """Ended jobs forget the plans that go with a data set, their own or one of the same bytes."""
    going = select(plans.c.id).where(plans.c.dataset == dataset)
    await tx.execute(update(jobs).where(jobs.c.plan.in_(going)).values(plan=None))


# --- inside ---


async def _prepare(tx: Transaction, plan_id: str, dataset: str, now: float) -> None:
    """A task to cut the plan, unless it has one."""
    task = {
        "kind": TaskKind.PREPARE,
        "identity": f"prepare/{plan_id}",
        "dataset": dataset,
        "plan": plan_id,
        "pool": Pool.TRUSTED,
        "priority": Priority.PREPARATION,
    }
    await task_store.add(tx, [task], now)


def _plain(plan: dataset_pb2.ShardPlan) -> domain.Plan:
    kind = dataset_pb2.ShardKind.Name(plan.kind or dataset_pb2.SHARD_KIND_IID).removeprefix("SHARD_KIND_")
    return domain.Plan(domain.ShardKind(kind), plan.shards, plan.holdout_fraction, plan.seed, plan.alpha)
