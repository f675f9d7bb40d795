"""The folder that an owner downloads: made by a trusted worker once a job has its model."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, delete, insert

from trainnet.coordinator.domain import exports as domain
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.catalog import ARCHITECTURES, Data
from trainnet.coordinator.domain.states import ENDED_TASKS, Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.objects import artifact_values
from trainnet.coordinator.storage.schema import jobs, model_files, tasks
from trainnet.coordinator.storage.statements import change, fetch
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.v1 import artifact_pb2


async def begin(tx: Transaction, job: Row[Any], now: float) -> None:
    """A task to make the folder of an ended job's newest model; none where there is nothing to make of it."""
    architecture = job_spec(job).architecture
    if ARCHITECTURES[architecture].data is Data.NONE or job.merged_rounds == 0:
        return
    task = {
        "kind": TaskKind.EXPORT,
        "identity": _identity(job.id),
        "job": job.id,
        "round": job.merged_rounds,
        "architecture": architecture,
        "pool": Pool.TRUSTED,
        # Somebody waits for it, and it is short: it goes before rounds that opened later, not before all that train.
        "priority": Priority.TRAINING,
    }
    await task_store.add(tx, [task], now)


def key_of(task: Row[Any], output: str) -> str | None:
    """Where an output of an EXPORT task goes; None when it has no such output."""
    path = domain.path_of(output)
    return None if path is None else names.model_file_key(task.job, task.fence, path)


async def done(tx: Transaction, task: Row[Any], objects: Mapping[str, artifact_pb2.Artifact]) -> None:
    """The folder is there: from now on it is what the owner downloads."""
    files = [
        {"job": task.job, "path": domain.path_of(output), **artifact_values("object", item)}
        for output, item in sorted(objects.items())
    ]
    await tx.execute(delete(model_files).where(model_files.c.job == task.job))
    await tx.execute(insert(model_files), files)
    await change(tx, jobs, {"id": task.job}, exported=task.round)
    tx.effects.changed.add(names.job(task.job))


async def failed(tx: Transaction, job_id: str, reason: str) -> None:
    """The job stays as it ended; its model comes as plain files."""
    job = await fetch(tx, jobs, lock=True, id=job_id)
    if job is None:
        return
    why = f"its model's folder could not be made: {reason}"
    await change(tx, jobs, {"id": job_id}, message=f"{job.message}; {why}" if job.message else why)
    tx.effects.changed.add(names.job(job_id))


async def under_way(tx: Transaction, job_id: str) -> bool:
    """Whether somebody will still make the folder."""
    task = await fetch(tx, tasks, identity=_identity(job_id))
    return task is not None and task.state not in ENDED_TASKS


def _identity(job_id: str) -> str:
    return f"export/{job_id}"
