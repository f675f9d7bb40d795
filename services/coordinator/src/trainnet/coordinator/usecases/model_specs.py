"""What a task's holder is told to do: contract messages made from rows."""

import hashlib
from typing import Any

from sqlalchemy import Row, Table

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import TaskKind
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import datasets, jobs, plans, rounds, shards
from trainnet.coordinator.storage.statements import fetch
from trainnet.coordinator.usecases.errors import NoSuchResource
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.v1 import artifact_pb2, dataset_pb2, job_pb2, task_pb2


def job_spec(row: Row[Any]) -> job_pb2.JobSpec:
    return job_pb2.JobSpec.FromString(row.spec)


def model_spec(row: Row[Any]) -> task_pb2.ModelSpec:
    """The model of a job, as training and loading need it."""
    spec = job_spec(row)
    model = task_pb2.ModelSpec(architecture=spec.architecture, hyperparameters=spec.hyperparameters)
    if row.schema is not None:
        model.schema.ParseFromString(row.schema)
    return model


def shard_seed(seed: int, number: int, shard: int) -> int:
    """A seed of its own for every shard of every round, the same whoever trains it."""
    text = f"{seed}/{number}/{shard}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


async def task_spec(tx: Transaction, uploads: Uploads, task: Row[Any]) -> task_pb2.TaskSpec:
    """The spec of a worker's task, with downloads. `task` is a row of `storage.tasks.find`."""
    if task.kind == TaskKind.INSPECT:
        dataset = await _one(tx, datasets, names.dataset(task.dataset), id=task.dataset)
        reading = dataset_pb2.DatasetReading.FromString(dataset.reading or b"")
        return task_pb2.TaskSpec(
            inspect=task_pb2.InspectSpec(
                source=uploads.artifact(dataset, "source", download=True),
                format=f"DATASET_FORMAT_{dataset.format}",
                label_column=reading.label_column,
                reading=reading,
            )
        )
    if task.kind == TaskKind.PREPARE:
        plan = await _one(tx, plans, f"plan {task.plan}", id=task.plan)
        dataset = await _one(tx, datasets, names.dataset(plan.dataset), id=plan.dataset)
        return task_pb2.TaskSpec(
            prepare=task_pb2.PrepareSpec(
                source=uploads.artifact(dataset, "source", download=True),
                format=f"DATASET_FORMAT_{dataset.format}",
                schema=dataset_pb2.DataSchema.FromString(plan.schema),
                plan=dataset_pb2.ShardPlan.FromString(plan.spec),
            )
        )
    job = await _one(tx, jobs, names.job(task.job), id=task.job)
    spec, model = job_spec(job), model_spec(job)
    described = task_pb2.TaskSpec(job=names.job(job.id))
    if task.kind == TaskKind.INITIALIZE:
        described.initialize.CopyFrom(task_pb2.InitializeSpec(model=model, seed=spec.seed))
        return described
    round_row = await _one(tx, rounds, names.round_of(job.id, task.round), job=job.id, number=task.round)
    if task.kind == TaskKind.TRAIN:
        described.train.CopyFrom(
            task_pb2.TrainSpec(
                model=model,
                base=uploads.artifact(round_row, "base", download=True),
                shard=await _shard(tx, uploads, job, task.shard),
                epochs=spec.epochs,
                seed=shard_seed(spec.seed, task.round, task.shard),
                round=task.round,
                shard_index=task.shard,
            )
        )
    else:
        plan = await _one(tx, plans, f"plan {job.plan}", id=job.plan)
        described.evaluate.CopyFrom(
            task_pb2.EvaluateSpec(
                model=model,
                weights=uploads.artifact(round_row, "merged", download=True),
                holdout=uploads.artifact(plan, "holdout", download=True),
                round=task.round,
            )
        )
    return described


async def _shard(tx: Transaction, uploads: Uploads, job: Row[Any], shard: int) -> artifact_pb2.Artifact | None:
    if job.plan is None:
        return None
    row = await _one(tx, shards, f"shard {shard} of {names.job(job.id)}", plan=job.plan, shard=shard)
    return uploads.artifact(row, "data", download=True)


async def _one(tx: Transaction, table: Table, name: str, **by: Any) -> Row[Any]:
    row = await fetch(tx, table, **by)
    if row is None:
        raise NoSuchResource(name)
    return row
