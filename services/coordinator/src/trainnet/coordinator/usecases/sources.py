"""Bytes that owners bring, data sets and models alike: declared once per request id, granted until they are whole."""

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, and_, or_, select

from trainnet.coordinator.domain import names
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.statements import add_new, fetch
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import NoSuchResource, RequestIdReused
from trainnet.coordinator.usecases.uploads import StoreAway, declared
from trainnet.runtime.store_errors import StoreError
from trainnet.v1 import artifact_pb2, dataset_pb2, model_pb2

UPLOADING = "UPLOADING"
"""State of what waits for its bytes, in both tables."""
BATCH = 100

Request = dataset_pb2.CreateDatasetRequest | model_pb2.CreateModelRequest


class Sources:
    """The rows of one table whose `source_…` columns are an upload; `collection` is what their names begin with,
    `deleting` tells those whose deletion began."""

    def __init__(
        self,
        context: Context,
        table: Table,
        collection: str,
        key_of: Callable[[str], str],
        deleting: ColumnElement[bool],
    ) -> None:
        self._context = context
        self._deleting = deleting
        self._table = table
        self._collection = collection
        self._key_of = key_of

    async def declare(self, request: Request, data_format: str, **values: Any) -> Row[Any]:
        """The row of a request id, made with `values` the first time. Raises RequestIdReused where it was made for
        other bytes."""
        context, table = self._context, self._table
        digest, part_size = declared(request.declaration, "declaration.part_sha256")
        async with context.database.read() as tx:
            row = await fetch(tx, table, request_id=request.request_id)
        if row is None:
            identifier = names.new_id(request.display_name)
            key = self._key_of(identifier)
            upload_id = await context.uploads.begin(key, part_size)
            made = {
                "id": identifier,
                "request_id": request.request_id,
                "display_name": request.display_name,
                "format": data_format,
                "state": UPLOADING,
                "source_key": key,
                "source_digest": digest,
                "source_size": request.declaration.size_bytes,
                "source_part_size": part_size,
                "declaration": request.declaration.SerializeToString(deterministic=True),
                "upload_id": upload_id,
                "created": context.clock(),
                **values,
            }
            async with context.database.write() as tx:
                await add_new(tx, table, made, key="request_id")
                row = await fetch(tx, table, request_id=request.request_id)
            if row is None:
                raise NoSuchResource(f"{self._collection}/{identifier}")
            if row.id != identifier:  # the same request at the same moment was quicker
                await context.uploads.abandon(key, upload_id)
        if (row.source_digest, row.format, row.display_name) != (digest, data_format, request.display_name):
            raise self.reused(request)
        return row

    def reused(self, request: Request) -> RequestIdReused:
        return RequestIdReused(f"request_id {request.request_id} was used for another one of {self._collection}")

    async def grant(self, row: Row[Any]) -> artifact_pb2.UploadGrant:
        """The parts that are not stored yet."""
        declaration = artifact_pb2.UploadDeclaration.FromString(row.declaration)
        return await self._context.uploads.grant(row.source_key, declaration, row.upload_id)

    async def whole(self, row: Row[Any]) -> bool:
        """Whether everything is stored as declared."""
        declaration = artifact_pb2.UploadDeclaration.FromString(row.declaration)
        return await self._context.uploads.complete(row.source_key, declaration, row.upload_id, verify=True)

    async def row(self, name: str) -> Row[Any]:
        """Raises NoSuchResource."""
        async with self._context.database.read() as tx:
            return await self.find(tx, name)

    async def find(self, tx: Transaction, name: str, *, lock: bool = False) -> Row[Any]:
        """Raises NoSuchResource."""
        row = await fetch(tx, self._table, lock=lock, id=names.id_of(name))
        if row is None:
            raise NoSuchResource(name)
        return row

    async def erase(self, name: str, prefixes: list[str]) -> None:
        """Removes bytes. Raises StoreAway where some may be left."""
        try:
            for prefix in prefixes:
                await asyncio.to_thread(self._context.store.delete_prefix, prefix)
        except StoreError as error:
            raise StoreAway(f"{name} is not deleted whole, delete it again: {error}") from error

    async def unfinished(self) -> list[str]:
        """Names of those that nobody finished to upload for as long as the operator's patience lasts, or to delete."""
        before = self._context.clock() - self._context.settings.upload_patience
        query = (
            select(self._table.c.id)
            .where(or_(and_(self._table.c.state == UPLOADING, self._table.c.created < before), self._deleting))
            .order_by(self._table.c.created)
            .limit(BATCH)
        )
        async with self._context.database.read() as tx:
            return [f"{self._collection}/{row.id}" for row in await tx.all(query)]
