"""Data sets: declared, uploaded, inspected, read again, deleted.

Inspection may be repeated with another reading as often as its owner likes. While it runs the data set is PREPARING,
and where it fails the data set is FAILED with the reason: nobody trains on data that are understood in a way that their
owner said is wrong. The bytes stay, so the next reading can mend it; jobs that exist keep the schema they began with.
"""

from contextlib import suppress
from typing import Any

from sqlalchemy import Row, delete, select, update

from trainnet.coordinator.domain import names, readings
from trainnet.coordinator.domain.states import ENDED_JOBS, DatasetState, Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.events import emit, timestamp
from trainnet.coordinator.storage.pages import DEFAULT_PAGE, page_of, token_of
from trainnet.coordinator.storage.schema import datasets, jobs
from trainnet.coordinator.usecases import shard_plans
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import DatasetNotReady, InUse, NoSuchResource, NotUploading, UploadIncomplete
from trainnet.coordinator.usecases.sources import Sources
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import artifact_pb2, dataset_pb2, events_pb2, task_pb2

MAX_SCHEMA_BYTES = 128 * 1024
"""A schema travels with every task of every job, within a message of 256 KiB."""
MAX_PROFILE_BYTES = 64 * 1024
MAX_READING_BYTES = MAX_SCHEMA_BYTES
"""What names more columns than a schema has room for is wrong anyway."""
PAGE = 100
"""Most data sets in a list, and"""
PAGE_BYTES = 1024 * 1024
"""after how many bytes a list ends: clients take messages of 4 MiB."""


class Datasets:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._sources = Sources(context, datasets, "datasets", names.source_key, datasets.c.deleting)

    async def create(
        self, request: dataset_pb2.CreateDatasetRequest
    ) -> tuple[dataset_pb2.Dataset, artifact_pb2.UploadGrant | None]:
        """Declares a data set once per request id; grants its upload while it waits for one."""
        data_format = dataset_pb2.DatasetFormat.Name(request.format).removeprefix("DATASET_FORMAT_")
        reading = dataset_pb2.DatasetReading()
        reading.CopyFrom(request.reading)
        reading.label_column = reading.label_column or request.label_column
        _check(reading, [])
        stored = reading.SerializeToString(deterministic=True)
        row = await self._sources.declare(request, data_format, reading=stored, declared_reading=stored)
        if _reading(row.declared_reading) != reading:
            raise self._sources.reused(request)
        grant = await self._sources.grant(row) if row.state == DatasetState.UPLOADING else None
        return self.view(row), grant

    async def grant(self, name: str) -> artifact_pb2.UploadGrant:
        row = await self._sources.row(name)
        if row.state != DatasetState.UPLOADING:
            raise NotUploading(f"{name} is {row.state}")
        return await self._sources.grant(row)

    async def complete(self, name: str) -> dataset_pb2.Dataset:
        row = await self._sources.row(name)
        if row.state == DatasetState.UPLOADING:
            if not await self._sources.whole(row):
                raise UploadIncomplete(
                    f"not every part of {name} is stored yet: upload what GrantDatasetUpload answers"
                )
            now = self._context.clock()
            async with self._context.database.write() as tx:
                if await self._move(tx, row.id, (DatasetState.UPLOADING,), DatasetState.PREPARING, now):
                    await self._inspect(tx, row.id, now)
        return await self.get(name)

    async def update(self, name: str, reading: dataset_pb2.DatasetReading) -> dataset_pb2.Dataset:
        """Has a data set inspected again, as its owner wants it read; one that is read so already stays as it is."""
        now = self._context.clock()
        async with self._context.database.write() as tx:
            row = await self._sources.find(tx, name, lock=True)
            if row.state == DatasetState.UPLOADING:
                raise UploadIncomplete(f"{name} is not uploaded yet: complete it first")
            if row.deleting:
                raise DatasetNotReady(f"{name} is {row.state}: {row.message}", metadata={"state": row.state})
            if _reading(row.reading) == reading and row.state != DatasetState.FAILED:
                return self.view(row)
            _check(reading, _columns(row))
            await task_store.delete_inspection(tx, row.id)
            stored = reading.SerializeToString(deterministic=True)
            values = {"reading": stored, "message": "", "prepared": None}
            uploaded = (DatasetState.READY, DatasetState.FAILED, DatasetState.PREPARING)
            await self._move(tx, row.id, uploaded, DatasetState.PREPARING, now, **values)
            await self._inspect(tx, row.id, now)
        return await self.get(name)

    async def get(self, name: str) -> dataset_pb2.Dataset:
        return self.view(await self._sources.row(name))

    async def page(self, page_size: int, page_token: str) -> tuple[list[dataset_pb2.Dataset], str]:
        """Data sets without their profiles. A page ends early rather than be too long for a message."""
        async with self._context.database.read() as tx:
            size = min(page_size or DEFAULT_PAGE, PAGE)
            rows, token = await page_of(tx, datasets, size, page_token, without=("profile",))
        views: list[dataset_pb2.Dataset] = []
        room = PAGE_BYTES
        for row in rows:
            view = self.view(row)
            room -= view.ByteSize()
            if views and room < 0:
                return views, token_of(rows[len(views) - 1])
            views.append(view)
        return views, token

    async def delete(self, name: str, *, unfinished: bool = False) -> None:
        """Removes the bytes, then the rows: as long as bytes are left, the data set is there to be deleted again. No
        job may begin with it from the first moment on. With `unfinished`, only where it is not uploaded yet or its
        deletion broke off."""
        now = self._context.clock()
        async with self._context.database.write() as tx:
            row, heir = await self._with_heir(tx, name)
            if unfinished and row.state != DatasetState.UPLOADING and not row.deleting:
                return
            using = await tx.one(
                select(jobs.c.id).where(jobs.c.dataset == row.id, jobs.c.state.not_in(tuple(ENDED_JOBS)))
            )
            if using is not None:
                raise InUse(f"{name} is used by {names.job(using.id)}: cancel that job first")
            if not row.deleting:
                await task_store.delete_of_dataset(tx, row.id)
                await shard_plans.leave(tx, row.id, heir, now)
                half = "its deletion was not finished: delete it again"
                values = {"state": DatasetState.FAILED, "message": half, "deleting": True}
                await tx.execute(update(datasets).where(datasets.c.id == row.id).values(**values))
            plans = await shard_plans.left(tx, row.id)
        prefixes = [names.dataset_prefix(row.id), *(names.plan_prefix(plan) for plan in plans)]
        await self._sources.erase(name, prefixes)
        async with self._context.database.write() as tx:
            await shard_plans.part_from_jobs(tx, row.id)
            await tx.execute(update(jobs).where(jobs.c.dataset == row.id).values(dataset=None, plan=None))
            await tx.execute(delete(datasets).where(datasets.c.id == row.id))

    async def forget_unfinished(self) -> int:
        """Deletes what nobody finished to upload or to delete; answers how many."""
        names_ = await self._sources.unfinished()
        for name in names_:
            with suppress(NoSuchResource):  # another replica was quicker
                await self.delete(name, unfinished=True)
        return len(names_)

    # --- results of tasks ---

    async def inspected(self, tx: Transaction, dataset_id: str, result: task_pb2.InspectResult, now: float) -> None:
        values = {
            "schema": result.schema.SerializeToString(deterministic=True),
            "profile": result.profile.SerializeToString(),
            "prepared": now,
        }
        await self._move(tx, dataset_id, (DatasetState.PREPARING,), DatasetState.READY, now, **values)

    async def failed(self, tx: Transaction, dataset_id: str, message: str, now: float) -> None:
        values = {"message": message, "prepared": now}
        await self._move(tx, dataset_id, (DatasetState.PREPARING,), DatasetState.FAILED, now, **values)

    # --- inside ---

    async def _move(
        self,
        tx: Transaction,
        dataset_id: str,
        sources: tuple[DatasetState, ...],
        target: DatasetState,
        now: float,
        **values: Any,
    ) -> bool:
        moved = await tx.changed(
            update(datasets)
            .where(datasets.c.id == dataset_id, datasets.c.state.in_(sources))
            .values(state=target, **values)
        )
        if moved:
            name = names.dataset(dataset_id)
            state = f"DATASET_STATE_{target}"
            changed = events_pb2.DatasetChanged(dataset=name, state=state)
            await emit(tx, dataset_id, events_pb2.Event(dataset_changed=changed), now)
            tx.effects.changed.add(name)
        return moved

    async def _inspect(self, tx: Transaction, dataset_id: str, now: float) -> None:
        task = {
            "kind": TaskKind.INSPECT,
            "identity": f"inspect/{dataset_id}",
            "dataset": dataset_id,
            "pool": Pool.TRUSTED,
            "priority": Priority.PREPARATION,
        }
        await task_store.add(tx, [task], now)

    async def _with_heir(self, tx: Transaction, name: str) -> tuple[Row[Any], str | None]:
        """A data set, and another one of the same bytes that its plans can go on with. Locks all of the same bytes, in
        one order: of two that are deleted at once, the second must see that the first is gone."""
        found = await self._sources.find(tx, name)
        same = select(datasets).where(
            datasets.c.source_digest == found.source_digest, datasets.c.format == found.format
        )
        rows = {row.id: row for row in await tx.all(same.order_by(datasets.c.id).with_for_update())}
        row = rows.pop(found.id, None) or await self._sources.find(tx, name, lock=True)
        heirs = [other.id for other in rows.values() if other.schema is not None and not other.deleting]
        return row, heirs[0] if heirs else None

    def view(self, row: Row[Any]) -> dataset_pb2.Dataset:
        """With its profile where the row has it."""
        reading = _reading(row.reading)
        view = dataset_pb2.Dataset(
            name=names.dataset(row.id),
            display_name=row.display_name,
            format=f"DATASET_FORMAT_{row.format}",
            state=f"DATASET_STATE_{row.state}",
            state_message=row.message,
            label_column=reading.label_column,
            reading=reading,
            source=self._context.uploads.artifact(row, "source"),
            create_time=timestamp(row.created),
        )
        if row.state == DatasetState.READY:
            view.schema.ParseFromString(row.schema)
            profile = row._mapping.get("profile")  # noqa: SLF001  # SQLAlchemy's public name for columns by key
            if profile is not None:
                view.profile.ParseFromString(profile)
        if row.prepared is not None:
            view.prepare_time.CopyFrom(timestamp(row.prepared))
        return view


def unusable(result: task_pb2.InspectResult) -> str:
    """Why the result of an inspection cannot be kept; empty where it can."""
    if not result.HasField("schema"):
        return "a task INSPECT hands in a schema"
    for what, message, most in (
        ("schema", result.schema, MAX_SCHEMA_BYTES),
        ("profile", result.profile, MAX_PROFILE_BYTES),
    ):
        if message.ByteSize() > most:
            return f"a {what} of {message.ByteSize()} bytes is too long: at most {most}"
    return ""


def _reading(stored: bytes | None) -> dataset_pb2.DatasetReading:
    return dataset_pb2.DatasetReading.FromString(stored or b"")


def _columns(row: Row[Any]) -> list[str]:
    """Columns that an inspection found so far, in file order where it told."""
    if row.schema is None:
        return []
    schema = dataset_pb2.DataSchema.FromString(row.schema)
    profile = dataset_pb2.DataProfile.FromString(row.profile or b"")
    shown, known = [column.name for column in profile.columns], [column.name for column in schema.columns]
    return [name for name in dict.fromkeys((*shown, *known, schema.label, schema.split_column)) if name]


def _check(reading: dataset_pb2.DatasetReading, columns: list[str]) -> None:
    if reading.ByteSize() > MAX_READING_BYTES:
        raise InvalidArgument(
            f"a reading of {reading.ByteSize()} bytes is too long: at most {MAX_READING_BYTES}", field="reading"
        )
    try:
        readings.check(reading.label_column, reading.split_column, sorted(reading.column_kinds), columns)
    except readings.BadReading as error:
        raise InvalidArgument(str(error), field=f"reading.{error.field}") from None
