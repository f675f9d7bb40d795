"""Data sets: declared, uploaded, inspected, deleted."""

import asyncio
from typing import Any

from sqlalchemy import Row, delete, select, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import ENDED_JOBS, DatasetState, Pool, Priority, TaskKind
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.events import emit, timestamp
from trainnet.coordinator.storage.pages import page_of
from trainnet.coordinator.storage.schema import datasets, jobs
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import InUse, NoSuchResource, NotUploading, RequestIdReused, UploadIncomplete
from trainnet.coordinator.usecases.uploads import StoreAway, declared
from trainnet.runtime.store_errors import StoreError
from trainnet.v1 import artifact_pb2, dataset_pb2, events_pb2


class Datasets:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(
        self, request: dataset_pb2.CreateDatasetRequest
    ) -> tuple[dataset_pb2.Dataset, artifact_pb2.UploadGrant | None]:
        """Declares a data set once per request id; grants its upload while it waits for one."""
        digest, part_size = declared(request.declaration, "declaration.part_sha256")
        data_format = dataset_pb2.DatasetFormat.Name(request.format).removeprefix("DATASET_FORMAT_")
        row = await self._by_request(request.request_id)
        if row is None:
            dataset_id = names.new_id(request.display_name)
            key = names.source_key(dataset_id)
            upload_id = await self._context.uploads.begin(key, part_size)
            async with self._context.database.write() as tx:
                if await tx.one(select(datasets.c.id).where(datasets.c.request_id == request.request_id)) is None:
                    await tx.execute(
                        datasets.insert().values(
                            id=dataset_id,
                            request_id=request.request_id,
                            display_name=request.display_name,
                            format=data_format,
                            label_column=request.label_column,
                            state=DatasetState.UPLOADING,
                            source_key=key,
                            source_digest=digest,
                            source_size=request.declaration.size_bytes,
                            source_part_size=part_size,
                            declaration=request.declaration.SerializeToString(deterministic=True),
                            upload_id=upload_id,
                            created=self._context.clock(),
                        )
                    )
            row = await self._by_request(request.request_id)
            if row is None:
                raise NoSuchResource(names.dataset(dataset_id))
        same = (digest, data_format, request.label_column, request.display_name)
        if (row.source_digest, row.format, row.label_column, row.display_name) != same:
            raise RequestIdReused(f"request_id {request.request_id} was used for another data set")
        grant = await self._grant(row) if row.state == DatasetState.UPLOADING else None
        return self.view(row), grant

    async def grant(self, name: str) -> artifact_pb2.UploadGrant:
        row = await self._row(name)
        if row.state != DatasetState.UPLOADING:
            raise NotUploading(f"{name} is {row.state}")
        return await self._grant(row)

    async def complete(self, name: str) -> dataset_pb2.Dataset:
        row = await self._row(name)
        if row.state != DatasetState.UPLOADING:
            return self.view(row)
        declaration = artifact_pb2.UploadDeclaration.FromString(row.declaration)
        if not await self._context.uploads.complete(row.source_key, declaration, row.upload_id, verify=True):
            raise UploadIncomplete(f"not every part of {name} is stored yet: upload what GrantDatasetUpload answers")
        now = self._context.clock()
        async with self._context.database.write() as tx:
            if await self._move(tx, row.id, DatasetState.UPLOADING, DatasetState.PREPARING, now):
                task = {
                    "kind": TaskKind.INSPECT,
                    "identity": f"inspect/{row.id}",
                    "dataset": row.id,
                    "pool": Pool.TRUSTED,
                    "priority": Priority.PREPARATION,
                }
                await task_store.add(tx, [task], now)
        return await self.get(name)

    async def get(self, name: str) -> dataset_pb2.Dataset:
        return self.view(await self._row(name))

    async def page(self, page_size: int, page_token: str) -> tuple[list[dataset_pb2.Dataset], str]:
        async with self._context.database.read() as tx:
            rows, token = await page_of(tx, datasets, page_size, page_token)
        return [self.view(row) for row in rows], token

    async def delete(self, name: str) -> None:
        """Removes the bytes, then the rows: as long as bytes are left, the data set is there to be deleted again. No
        job may begin with it from the first moment on."""
        row = await self._row(name)
        async with self._context.database.write() as tx:
            using = await tx.one(
                select(jobs.c.id).where(jobs.c.dataset == row.id, jobs.c.state.not_in(tuple(ENDED_JOBS)))
            )
            if using is not None:
                raise InUse(f"{name} is used by {names.job(using.id)}: cancel that job first")
            await task_store.delete_of_dataset(tx, row.id)
            half = "its deletion was not finished: delete it again"
            await tx.execute(
                update(datasets).where(datasets.c.id == row.id).values(state=DatasetState.FAILED, message=half)
            )
        try:
            await asyncio.to_thread(self._context.store.delete_prefix, f"datasets/{row.id}/")
        except StoreError as error:
            raise StoreAway(f"{name} is not deleted whole, delete it again: {error}") from error
        async with self._context.database.write() as tx:
            await tx.execute(update(jobs).where(jobs.c.dataset == row.id).values(dataset=None, plan=None))
            await tx.execute(delete(datasets).where(datasets.c.id == row.id))

    # --- results of tasks ---

    async def inspected(self, tx: Transaction, dataset_id: str, schema: dataset_pb2.DataSchema, now: float) -> None:
        values = {"schema": schema.SerializeToString(), "prepared": now}
        await self._move(tx, dataset_id, DatasetState.PREPARING, DatasetState.READY, now, **values)

    async def failed(self, tx: Transaction, dataset_id: str, message: str, now: float) -> None:
        await self._move(
            tx, dataset_id, DatasetState.PREPARING, DatasetState.FAILED, now, message=message, prepared=now
        )

    # --- inside ---

    async def _move(
        self, tx: Transaction, dataset_id: str, source: DatasetState, target: DatasetState, now: float, **values: Any
    ) -> bool:
        moved = await tx.changed(
            update(datasets)
            .where(datasets.c.id == dataset_id, datasets.c.state == source)
            .values(state=target, **values)
        )
        if moved:
            name = names.dataset(dataset_id)
            state = f"DATASET_STATE_{target}"
            changed = events_pb2.DatasetChanged(dataset=name, state=state)
            await emit(tx, dataset_id, events_pb2.Event(dataset_changed=changed), now)
            tx.effects.changed.add(name)
        return moved

    async def _grant(self, row: Row[Any]) -> artifact_pb2.UploadGrant:
        declaration = artifact_pb2.UploadDeclaration.FromString(row.declaration)
        return await self._context.uploads.grant(row.source_key, declaration, row.upload_id)

    async def _by_request(self, request_id: str) -> Row[Any] | None:
        async with self._context.database.read() as tx:
            return await tx.one(select(datasets).where(datasets.c.request_id == request_id))

    async def _row(self, name: str) -> Row[Any]:
        async with self._context.database.read() as tx:
            row = await tx.one(select(datasets).where(datasets.c.id == names.id_of(name)))
        if row is None:
            raise NoSuchResource(name)
        return row

    def view(self, row: Row[Any]) -> dataset_pb2.Dataset:
        view = dataset_pb2.Dataset(
            name=names.dataset(row.id),
            display_name=row.display_name,
            format=f"DATASET_FORMAT_{row.format}",
            state=f"DATASET_STATE_{row.state}",
            state_message=row.message,
            label_column=row.label_column,
            source=self._context.uploads.artifact(row, "source"),
            create_time=timestamp(row.created),
        )
        if row.schema is not None:
            view.schema.ParseFromString(row.schema)
        if row.prepared is not None:
            view.prepare_time.CopyFrom(timestamp(row.prepared))
        return view
