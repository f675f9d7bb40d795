"""Uploads by presigned requests: what was declared, and nothing else, can be stored, once.

Up to 64 MiB an upload is one PUT with length, SHA-256 and create-only signed. Above, it is a multipart upload whose
parts are signed alike, granted in windows, and completed here, create-only. The store checks the digests on PUT.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from trainnet.coordinator.storage.events import timestamp
from trainnet.runtime import digest
from trainnet.runtime.errors import InvalidArgument, Unavailable
from trainnet.runtime.presign import SignedRequest
from trainnet.runtime.store import PART_SIZE, ObjectStore, Part
from trainnet.runtime.store_errors import ObjectExists, ObjectNotFound, StoreError, UploadNotFound
from trainnet.v1 import artifact_pb2

WINDOW = 16
"""Parts granted at a time: a control message stays far below its limit of 256 KiB."""


class StoreAway(Unavailable):
    """The object store does not answer; try again."""

    reason = "STORE_UNAVAILABLE"


def declared(declaration: artifact_pb2.UploadDeclaration, field: str) -> tuple[str, int]:
    """(digest, part size) that a declaration leads to; part size 0 means one PUT. Raises InvalidArgument."""
    size, parts = declaration.size_bytes, declaration.part_sha256
    expected = max(1, -(-size // PART_SIZE))
    if len(parts) != expected:
        raise InvalidArgument(
            f"{size} bytes are {expected} parts of {PART_SIZE} bytes, {len(parts)} digests were declared", field=field
        )
    if expected == 1:
        return str(digest.Digest(parts[0])), 0
    return digest.composite(parts), PART_SIZE


def download_of(key: str, signed: SignedRequest) -> artifact_pb2.SignedRequest:
    return artifact_pb2.SignedRequest(
        method=signed.method,
        url=signed.url,
        headers=dict(signed.headers),
        expire_time=timestamp(signed.expires_at.timestamp()),
    )


class Uploads:
    """Grants and completes uploads, and signs downloads."""

    def __init__(self, store: ObjectStore, url_ttl: float) -> None:
        self._store = store
        self._ttl = timedelta(seconds=url_ttl)

    def artifact(self, row: Row[Any], prefix: str, *, download: bool = False) -> artifact_pb2.Artifact | None:
        """The object in the columns `<prefix>_…` of a row; None while there is none."""
        values = row._mapping  # noqa: SLF001  # SQLAlchemy's public name for columns by key
        if values[f"{prefix}_key"] is None:
            return None
        artifact = artifact_pb2.Artifact(
            key=values[f"{prefix}_key"],
            digest=values[f"{prefix}_digest"],
            size_bytes=values[f"{prefix}_size"],
            part_size_bytes=values[f"{prefix}_part_size"] or 0,
        )
        if download:
            self.sign(artifact)
        return artifact

    def sign(self, artifact: artifact_pb2.Artifact) -> artifact_pb2.Artifact:
        """Adds a download."""
        signed = self._store.presign_get(artifact.key, expires=self._ttl)
        artifact.download.CopyFrom(download_of(artifact.key, signed))
        return artifact

    async def begin(self, key: str, part_size: int) -> str | None:
        """The id of a multipart upload where one is needed."""
        if not part_size:
            return None
        upload_id: str = await self._call(self._store.create_multipart, key)
        return upload_id

    async def abandon(self, key: str, upload_id: str | None) -> None:
        """Ends what `begin` began and nobody will complete."""
        if upload_id is not None:
            await self._call(self._store.abort_multipart, key, upload_id)

    async def grant(
        self, key: str, declaration: artifact_pb2.UploadDeclaration, upload_id: str | None
    ) -> artifact_pb2.UploadGrant:
        """What is left to upload, at most a window of it."""
        object_digest, part_size = declared(declaration, "declaration")
        size = declaration.size_bytes
        grant = artifact_pb2.UploadGrant(key=key, digest=object_digest, total_parts=len(declaration.part_sha256))
        if upload_id is None:
            signed = self._store.presign_put(key, size=size, sha256=declaration.part_sha256[0], expires=self._ttl)
            grant.parts.add(part_number=1, size_bytes=size, request=download_of(key, signed))
            return grant
        try:
            stored = await self._call(self._store.list_parts, key, upload_id)
        except UploadNotFound:  # completed already: nothing is left
            grant.stored_bytes = size
            return grant
        there = {part.number: part.size for part in stored if _matches(part, declaration, part_size)}
        grant.stored_bytes = sum(there.values())
        for number, sha256 in enumerate(declaration.part_sha256, 1):
            if number in there:
                continue
            if len(grant.parts) == WINDOW:
                break
            offset = (number - 1) * part_size
            length = min(part_size, size - offset)
            signed = self._store.presign_part(key, upload_id, number, size=length, sha256=sha256, expires=self._ttl)
            grant.parts.add(
                part_number=number, offset_bytes=offset, size_bytes=length, request=download_of(key, signed)
            )
        return grant

    async def complete(
        self, key: str, declaration: artifact_pb2.UploadDeclaration, upload_id: str | None, *, verify: bool
    ) -> bool:
        """Whether the whole object is stored as declared. Completes a multipart upload; with `verify` a single PUT is
        looked up too, for objects that nobody checks later. Idempotent."""
        object_digest, part_size = declared(declaration, "declaration")
        if upload_id is not None:
            try:
                stored = await self._call(self._store.list_parts, key, upload_id)
                # Some stores list no digests; completing with the declared ones makes the store compare them.
                parts = [
                    replace(part, sha256=declaration.part_sha256[part.number - 1])
                    for part in stored
                    if _matches(part, declaration, part_size)
                ]
                if len(parts) != len(declaration.part_sha256):
                    return False
                await self._call(self._store.complete_multipart, key, upload_id, parts)
            except (UploadNotFound, ObjectExists):
                verify = True  # completed before: the object itself must tell
        if not verify:
            return True
        try:
            info = await self._call(self._store.stat, key)
        except ObjectNotFound:
            return False
        return info.size == declaration.size_bytes and info.sha256 in (None, object_digest)

    async def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *arguments)
        except (ObjectNotFound, ObjectExists, UploadNotFound):
            raise
        except StoreError as error:
            raise StoreAway(f"the object store does not answer: {error}; try again") from error


def _matches(part: Part, declaration: artifact_pb2.UploadDeclaration, part_size: int) -> bool:
    """Whether a stored part holds the declared bytes."""
    if not 1 <= part.number <= len(declaration.part_sha256):
        return False
    length = min(part_size, declaration.size_bytes - (part.number - 1) * part_size)
    return part.size == length and part.sha256 in (None, declaration.part_sha256[part.number - 1])
