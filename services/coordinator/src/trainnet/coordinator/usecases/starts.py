"""How a job comes to its first round: its plan is cut, its initial weights are made, in either order or one after the
other."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select, update

from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.states import JobState, PlanState, Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.objects import artifact_values
from trainnet.coordinator.storage.schema import jobs, plans
from trainnet.coordinator.storage.statements import fetch
from trainnet.coordinator.usecases import evaluations
from trainnet.coordinator.usecases import rounds as life
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.v1 import artifact_pb2, task_pb2


async def prepared(tx: Transaction, plan_id: str, now: float) -> None:
    """A plan is ready: its jobs that have their weights too open their first round; those that need a sample of it for
    their tokenizer can make their weights now."""
    # Locked: of a plan and of weights that come at the same moment, the later one must see the other.
    waiting = select(jobs).where(jobs.c.plan == plan_id, jobs.c.state == JobState.PREPARING).with_for_update()
    for job in await tx.all(waiting):
        if job.base_key is None:
            await initialize(tx, job, now)
        await _open_first(tx, job, now)


async def initialize(tx: Transaction, job: Row[Any], now: float) -> None:
    """A task to make the initial weights of a job, unless it has one or must wait for its plan."""
    architecture = ARCHITECTURES[job_spec(job).architecture]
    if architecture.tokenizes and not await _plan_ready(tx, job):
        return
    task = {
        "kind": TaskKind.INITIALIZE,
        "identity": f"initialize/{job.id}",
        "job": job.id,
        "architecture": architecture.name,
        "pool": Pool.TRUSTED,
        "priority": Priority.PREPARATION,
    }
    await task_store.add(tx, [task], now)


async def initialized(
    tx: Transaction,
    job_id: str,
    made: Mapping[str, artifact_pb2.Artifact],
    found: task_pb2.InitializeResult,
    now: float,
) -> None:
    """The initial weights are there: the job opens its first round once its plan is ready."""
    values: dict[str, Any] = {
        "trainable_parameters": max(0, found.trainable_parameters),
        "parameters": max(0, found.parameters),
        "base_revision": found.base_revision[:200],
    }
    for part, artifact in made.items():
        values |= artifact_values(part, artifact)
    await tx.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
    job = await tx.one(select(jobs).where(jobs.c.id == job_id, jobs.c.state == JobState.PREPARING))
    if job is not None:
        await _open_first(tx, job, now)


async def _plan_ready(tx: Transaction, job: Row[Any]) -> bool:
    if job.plan is None:
        return True
    plan = await fetch(tx, plans, id=job.plan)
    return plan is not None and plan.state == PlanState.READY


async def _open_first(tx: Transaction, job: Row[Any], now: float) -> None:
    if job.base_key is None or not await _plan_ready(tx, job):
        return
    base = artifact_pb2.Artifact(
        key=job.base_key, digest=job.base_digest, size_bytes=job.base_size, part_size_bytes=job.base_part_size
    )
    if await life.move_job(tx, job.id, frozenset({JobState.PREPARING}), JobState.QUEUED, now, started=now):
        await life.open_round(tx, job, 1, base, now)
        if job_spec(job).HasField("base"):
            await evaluations.begin(tx, job, 0, now)
