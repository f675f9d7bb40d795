"""Models that owners bring as a base for their jobs: declared, uploaded, deleted. What one holds is looked at by the
first job that starts from it."""

from contextlib import suppress
from typing import Any

from sqlalchemy import Row, select

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import ENDED_JOBS, ModelState
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.events import timestamp
from trainnet.coordinator.storage.pages import page_of
from trainnet.coordinator.storage.schema import jobs, models
from trainnet.coordinator.storage.statements import change, fetch, remove
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import InUse, ModelNotReady, NoSuchResource, NotUploading, UploadIncomplete
from trainnet.coordinator.usecases.sources import Sources
from trainnet.v1 import artifact_pb2, model_pb2


class Models:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._sources = Sources(
            context, models, "models", names.model_source_key, models.c.state == ModelState.DELETING
        )

    async def create(
        self, request: model_pb2.CreateModelRequest
    ) -> tuple[model_pb2.Model, artifact_pb2.UploadGrant | None]:
        """Declares a model once per request id; grants its upload while it waits for one."""
        row = await self._sources.declare(request, model_pb2.ModelFormat.Name(request.format).removeprefix(_FORMAT))
        grant = await self._sources.grant(row) if row.state == ModelState.UPLOADING else None
        return self._view(row), grant

    async def grant(self, name: str) -> artifact_pb2.UploadGrant:
        row = await self._sources.row(name)
        if row.state != ModelState.UPLOADING:
            raise NotUploading(f"{name} is {row.state}")
        return await self._sources.grant(row)

    async def complete(self, name: str) -> model_pb2.Model:
        row = await self._sources.row(name)
        if row.state == ModelState.UPLOADING:
            if not await self._sources.whole(row):
                raise UploadIncomplete(f"not every part of {name} is stored yet: upload what GrantModelUpload answers")
            async with self._context.database.write() as tx:
                await change(tx, models, {"id": row.id, "state": ModelState.UPLOADING}, state=ModelState.READY)
        return await self.get(name)

    async def get(self, name: str) -> model_pb2.Model:
        return self._view(await self._sources.row(name))

    async def page(self, page_size: int, page_token: str) -> tuple[list[model_pb2.Model], str]:
        async with self._context.database.read() as tx:
            rows, token = await page_of(tx, models, page_size, page_token, without=("declaration",))
        return [self._view(row) for row in rows], token

    async def delete(self, name: str, *, unfinished: bool = False) -> None:
        """Removes the bytes, then the row: as long as bytes are left, the model is there to be deleted again. No job
        may begin with it from the first moment on. With `unfinished`, only where it is not uploaded yet
        or its deletion broke off."""
        async with self._context.database.write() as tx:
            row = await self._sources.find(tx, name, lock=True)
            if unfinished and row.state not in (ModelState.UPLOADING, ModelState.DELETING):
                return
            using = await tx.one(
                select(jobs.c.id).where(jobs.c.base_model == row.id, jobs.c.state.not_in(tuple(ENDED_JOBS)))
            )
            if using is not None:
                raise InUse(f"{name} is what {names.job(using.id)} starts from: cancel that job first")
            await change(tx, models, {"id": row.id}, state=ModelState.DELETING)
        await self._sources.erase(name, [names.model_prefix(row.id)])
        async with self._context.database.write() as tx:
            await remove(tx, models, id=row.id)

    async def forget_unfinished(self) -> int:
        """Deletes what nobody finished to upload or to delete; answers how many."""
        names_ = await self._sources.unfinished()
        for name in names_:
            with suppress(NoSuchResource):  # another replica was quicker
                await self.delete(name, unfinished=True)
        return len(names_)

    def _view(self, row: Row[Any]) -> model_pb2.Model:
        return model_pb2.Model(
            name=names.uploaded_model(row.id),
            display_name=row.display_name,
            format=f"{_FORMAT}{row.format}",
            state=f"MODEL_STATE_{row.state}",
            source=self._context.uploads.artifact(row, "source"),
            create_time=timestamp(row.created),
        )


_FORMAT = "MODEL_FORMAT_"


async def usable(tx: Transaction, name: str) -> Row[Any]:
    """The row of a model that a job is to start from, locked: it cannot be deleted before the job is there, whose
    `base_model` must be its id. Raises NoSuchResource and ModelNotReady."""
    row = await fetch(tx, models, lock=True, id=names.id_of(name))
    if row is None:
        raise NoSuchResource(name)
    if row.state != ModelState.READY:
        remedy = "finish its upload" if row.state == ModelState.UPLOADING else "delete it again, and take another one"
        raise ModelNotReady(f"{name} is {row.state}: {remedy}", metadata={"state": row.state})
    return row
