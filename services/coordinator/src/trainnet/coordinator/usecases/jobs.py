"""Jobs for their owners: create, read, cancel, delete, download."""

import asyncio
import hashlib
from typing import Any

from google.protobuf import json_format, struct_pb2
from sqlalchemy import Row, delete, select

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.catalog import ARCHITECTURES, BadHyperparameter, Data
from trainnet.coordinator.domain.states import ENDED_JOBS, DatasetState, JobState, Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.pages import page_of
from trainnet.coordinator.storage.schema import datasets, jobs, rounds, tasks, updates
from trainnet.coordinator.storage.statements import fetch
from trainnet.coordinator.usecases import rounds as life
from trainnet.coordinator.usecases import shard_plans, views
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import (
    Collected,
    DatasetNotReady,
    NoModel,
    NoSuchResource,
    NotEnded,
    RequestIdReused,
)
from trainnet.coordinator.usecases.model_card import model_card, model_config
from trainnet.coordinator.usecases.uploads import StoreAway
from trainnet.runtime.errors import InvalidArgument
from trainnet.runtime.store_errors import StoreError
from trainnet.v1 import dataset_pb2, job_pb2

PUBLIC_UPDATE_NORM = 1000.0
"""Bound on the L2 norm of a stranger's update where the owner sets none: far above what an epoch moves a model by, far
below what one poisoned update needs to wipe out the rest."""


class Jobs:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, request_id: str, given: job_pb2.JobSpec) -> job_pb2.Job:
        """Checks everything that can be told wrong beforehand, then creates the job and its first tasks at once."""
        context, now = self._context, self._context.clock()
        request_hash = hashlib.sha256(given.SerializeToString(deterministic=True)).hexdigest()
        async with context.database.write() as tx:
            before = await tx.one(select(jobs).where(jobs.c.request_id == request_id))
            if before is not None:
                if before.request_hash != request_hash:
                    raise RequestIdReused(f"request_id {request_id} was used for {names.job(before.id)}")
                return await views.job_view(tx, context.uploads, before, now)
            spec = completed(given)
            dataset = await self._dataset(tx, spec)
            job_id = names.new_id(spec.display_name or spec.architecture)
            plan_id = await shard_plans.cut(tx, dataset, spec.plan, now) if dataset is not None else None
            await tx.execute(
                jobs.insert().values(
                    id=job_id,
                    request_id=request_id,
                    request_hash=request_hash,
                    spec=spec.SerializeToString(),
                    schema=None if dataset is None else dataset.schema,
                    dataset=None if dataset is None else dataset.id,
                    plan=plan_id,
                    state=JobState.PENDING,
                    created=now,
                )
            )
            initialize = {
                "kind": TaskKind.INITIALIZE,
                "identity": f"initialize/{job_id}",
                "job": job_id,
                "architecture": spec.architecture,
                "pool": Pool.TRUSTED,
                "priority": Priority.PREPARATION,
            }
            await task_store.add(tx, [initialize], now)
            await life.move_job(tx, job_id, frozenset({JobState.PENDING}), JobState.PREPARING, now)
            row = await self._row(tx, names.job(job_id))
            return await views.job_view(tx, context.uploads, row, now)

    async def get(self, name: str, after: int = 0) -> job_pb2.Job:
        """A job with its rounds numbered above `after`."""
        async with self._context.database.read() as tx:
            row = await self._row(tx, name)
            return await views.job_view(tx, self._context.uploads, row, self._context.clock(), after=after)

    async def page(self, page_size: int, page_token: str) -> tuple[list[job_pb2.Job], str]:
        async with self._context.database.read() as tx:
            rows, token = await page_of(tx, jobs, page_size, page_token)
            now = self._context.clock()
            return [await views.job_view(tx, self._context.uploads, row, now, whole=False) for row in rows], token

    async def cancel(self, name: str) -> job_pb2.Job:
        async with self._context.database.write() as tx:
            row = await self._row(tx, name)
            await life.cancel_job(tx, row.id, self._context.clock())
        return await self.get(name)

    async def delete(self, name: str) -> None:
        """Removes the bytes of an ended job, then its rows: as long as bytes are left, the job is there to be deleted
        again. It says that they are collected from the first moment on."""
        async with self._context.database.write() as tx:
            row = await self._row(tx, name)
            if row.state not in ENDED_JOBS:
                raise NotEnded(f"{name} is {row.state}: cancel it first")
            await tx.execute(rounds.update().where(rounds.c.job == row.id).values(collected=True))
        try:
            for prefix in (f"jobs/{row.id}/", f"uploads/{row.id}/"):
                await asyncio.to_thread(self._context.store.delete_prefix, prefix)
        except StoreError as error:
            raise StoreAway(f"{name} is not deleted whole, delete it again: {error}") from error
        async with self._context.database.write() as tx:
            # Contributions stay: they are what the workers earned.
            await tx.execute(delete(updates).where(updates.c.job == row.id))
            await tx.execute(delete(tasks).where(tasks.c.job == row.id))
            await tx.execute(delete(jobs).where(jobs.c.id == row.id))

    async def model(self, name: str, number: int) -> tuple[int, list[job_pb2.ModelFile]]:
        """(round, files) of a model's folder; the small files are made here."""
        async with self._context.database.read() as tx:
            row = await self._row(tx, name)
            if row.merged_rounds == 0:
                raise NoModel(f"no round of {name} is merged yet")
            wanted = number or row.merged_rounds
            job = await views.job_view(tx, self._context.uploads, row, self._context.clock())
            round_row = await tx.one(select(rounds).where(rounds.c.job == row.id, rounds.c.number == wanted))
            if round_row is None or round_row.merged_key is None:
                raise NoSuchResource(names.round_of(row.id, wanted))
            if round_row.collected and wanted != row.merged_rounds:
                raise Collected(
                    f"the weights of round {wanted} were collected, those of round {row.merged_rounds} are there"
                )
            weights = self._context.uploads.artifact(round_row, "merged", download=True)
        files = [job_pb2.ModelFile(path="model.safetensors", artifact=weights, sha256=round_row.merged_sha256)]
        for path, content in (("config.json", model_config(job, wanted)), ("README.md", model_card(job, wanted))):
            files.append(
                job_pb2.ModelFile(
                    path=path, inline=content.encode(), sha256=hashlib.sha256(content.encode()).hexdigest()
                )
            )
        return wanted, files

    async def round(self, name: str) -> job_pb2.Round:
        """A round with downloads of all that an independent recompute needs, while they are kept."""
        job_id, number = names.parse_round(name)
        uploads = self._context.uploads
        async with self._context.database.read() as tx:
            row = await tx.one(select(rounds).where(rounds.c.job == job_id, rounds.c.number == number))
            if row is None:
                raise NoSuchResource(name)
            view = views.round_view(uploads, row, await views.manifest_of(tx, uploads, job_id, number))
        if view.verifiable:
            for artifact in (view.base, view.merged, *(entry.update for entry in view.manifest)):
                uploads.sign(artifact)
        return view

    # --- inside ---

    async def _dataset(self, tx: Transaction, spec: job_pb2.JobSpec) -> Row[Any] | None:
        wants = ARCHITECTURES[spec.architecture].data
        if wants is Data.NONE:
            if spec.dataset:
                raise InvalidArgument(f"{spec.architecture} takes no data set: leave it out", field="spec.dataset")
            spec.plan.CopyFrom(shard_plans.completed(spec.plan, None))
            return None
        if not spec.dataset:
            raise InvalidArgument(f"{spec.architecture} needs a data set: name one", field="spec.dataset")
        row = await fetch(tx, datasets, lock=True, id=names.id_of(spec.dataset))
        if row is None:
            raise NoSuchResource(spec.dataset)
        if row.state != DatasetState.READY:
            remedy = "wait until it is READY" if row.state != DatasetState.FAILED else row.message
            raise DatasetNotReady(f"{spec.dataset} is {row.state}: {remedy}", metadata={"state": row.state})
        schema = dataset_pb2.DataSchema.FromString(row.schema)
        is_image = schema.HasField("image")
        if is_image != (wants is Data.IMAGE):
            fit = ", ".join(name for name, item in ARCHITECTURES.items() if item.data is _kind(is_image))
            raise InvalidArgument(
                f"{spec.architecture} takes {wants.lower()} data, {spec.dataset} is "
                f"{_kind(is_image).lower()}: use {fit}",
                field="spec.architecture",
            )
        spec.plan.CopyFrom(shard_plans.completed(spec.plan, schema))
        return row

    async def _row(self, tx: Transaction, name: str) -> Row[Any]:
        row = await views.one_job(tx, names.id_of(name))
        if row is None:
            raise NoSuchResource(name)
        return row


def _kind(is_image: bool) -> Data:
    return Data.IMAGE if is_image else Data.TABULAR


def _given(values: struct_pb2.Struct) -> dict[str, object]:
    """Plain values of a Struct; NaN and infinity too, which JSON has no words for."""

    def plain(value: struct_pb2.Value) -> object:
        match value.WhichOneof("kind"):
            case "list_value":
                return [plain(item) for item in value.list_value.values]
            case "struct_value":
                return _given(value.struct_value)
            case None | "null_value":
                return None
            case kind:
                return getattr(value, kind)

    return {name: plain(value) for name, value in values.fields.items()}


def completed(given: job_pb2.JobSpec) -> job_pb2.JobSpec:
    """The spec with every default filled in. Raises InvalidArgument that names the field."""
    spec = job_pb2.JobSpec()
    spec.CopyFrom(given)
    architecture = ARCHITECTURES.get(spec.architecture)
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        raise InvalidArgument(
            f"there is no architecture {spec.architecture}: use one of {known}", field="spec.architecture"
        )
    try:
        values = architecture.complete(_given(given.hyperparameters))
    except BadHyperparameter as error:
        raise InvalidArgument(str(error), field=f"spec.hyperparameters.{error.field}") from None
    spec.hyperparameters.Clear()
    json_format.ParseDict(values, spec.hyperparameters)
    spec.pool = spec.pool or job_pb2.POOL_TRUSTED
    spec.merge.strategy = spec.merge.strategy or job_pb2.MERGE_STRATEGY_FEDAVG
    if spec.pool == job_pb2.POOL_PUBLIC and not spec.merge.max_update_norm:
        spec.merge.max_update_norm = PUBLIC_UPDATE_NORM
    return spec
