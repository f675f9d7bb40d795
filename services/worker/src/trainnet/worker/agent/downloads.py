"""Downloads of signed requests: verified, resumed where they broke."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from trainnet.runtime import digest as digests
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.worker.agent.bandwidth import Bandwidth
from trainnet.worker.agent.transfers import SMALL, TRANSIENT, Persistence, signed_headers, signed_url
from trainnet.worker.errors import TaskError

RANGE = 8 * 1024 * 1024
"""Bytes of a request: a store that streams a large object whole reads far ahead of a slow reader, in its own memory."""

Refresh = Callable[[], Awaitable[Artifact]]
"""Gets the same artifact with a fresh URL."""


class Verifier:
    """Computes an artifact's digest, whole or composite, as its bytes come."""

    def __init__(self, artifact: Artifact) -> None:
        self._expected = artifact.digest
        try:
            parsed = digests.parse(artifact.digest)
        except ValueError as error:
            raise TaskError("TASK", f"the artifact {artifact.key} has no digest to check: {error}") from error
        if parsed.parts is not None and artifact.part_size_bytes <= 0:
            raise TaskError("TASK", f"the artifact {artifact.key} does not say how long its parts are")
        self._part_size = artifact.part_size_bytes if parsed.parts is not None else 0
        self._parts: list[bytes] = []
        self._hash = hashlib.sha256()
        self._left = self._part_size

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes."""
        if not self._part_size:
            self._hash.update(data)
            return
        view = memoryview(data)
        while len(view):
            if self._left == 0:
                self._parts.append(self._hash.digest())
                self._hash, self._left = hashlib.sha256(), self._part_size
            piece = view[: self._left]
            self._hash.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]

    def matches(self) -> bool:
        """Whether the bytes so far are the artifact's."""
        if self._part_size:
            return digests.composite([*self._parts, self._hash.digest()]) == self._expected
        return f"sha256:{self._hash.hexdigest()}" == self._expected


def file_matches(path: Path, artifact: Artifact) -> bool:
    """Reads a file and compares it with the artifact's size and digest."""
    verifier = Verifier(artifact)
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != artifact.size_bytes:
            return False
        while block := file.read(SMALL):
            verifier.update(block)
    return verifier.matches()


class _TooLong(Exception):
    """More bytes came than the artifact has."""


class _Partial:
    """The bytes so far, on disk, and the digest over them. A block is written and hashed while the next one comes."""

    def __init__(self, path: Path, artifact: Artifact) -> None:
        self._artifact = artifact
        self._file = path.open("wb", buffering=0)
        self._verifier = Verifier(artifact)
        self._writing: asyncio.Task[None] | None = None
        self.size = 0

    async def add(self, data: bytes) -> None:
        """Takes the next bytes; returns once those before them are on disk."""
        await self._settle()
        self.size += len(data)
        if len(data) <= SMALL:
            self._write(data)
        else:
            self._writing = asyncio.create_task(asyncio.to_thread(self._write, data))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            view = view[self._file.write(view) :]
        self._verifier.update(data)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def matches(self) -> bool:
        """Whether the file is the artifact now."""
        await self._settle()
        return self.size == self._artifact.size_bytes and self._verifier.matches()

    async def restart(self) -> None:
        """Forgets all bytes."""
        await self._settle()
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self._verifier = Verifier(self._artifact)

    async def close(self) -> None:
        try:
            await self._settle()
        finally:
            self._file.close()


async def download(
    http: aiohttp.ClientSession, bandwidth: Bandwidth, artifact: Artifact, path: Path, refresh: Refresh
) -> None:
    """Writes the artifact's bytes to `path`, verified. A broken connection goes on where it broke; an expired URL is
    asked for again. Raises TaskError."""
    persistence = Persistence(f"the download of {artifact.key}")
    partial = _Partial(path, artifact)
    try:
        while True:
            try:
                status = await _attempt(http, bandwidth, artifact, partial, persistence)
            except TRANSIENT as error:
                await persistence.broke(str(error) or type(error).__name__)
                continue
            except _TooLong:
                await partial.restart()
                persistence.damaged("the store has more bytes than promised")
                continue
            if status == 206 and partial.size < artifact.size_bytes:
                continue
            if status in {200, 206}:
                if await partial.matches():
                    return
                await partial.restart()
                persistence.damaged("the bytes do not have the digest that was promised")
            elif status in {400, 401, 403, 404}:
                if status == 404:
                    await persistence.broke("the object is missing")
                await persistence.refused(status)
                artifact = await refresh()
            elif status == 416:
                await partial.restart()
                persistence.damaged("the store has fewer bytes than promised")
            else:
                await persistence.broke(f"the store answers {status}")
    finally:
        await partial.close()


async def _attempt(
    http: aiohttp.ClientSession, bandwidth: Bandwidth, artifact: Artifact, partial: _Partial, persistence: Persistence
) -> int:
    """One request for the next bytes, at most RANGE. Answers its status; 200 or 206 mean that all of them came."""
    headers = signed_headers(artifact.download)
    end = min(artifact.size_bytes, partial.size + RANGE)
    if partial.size or end < artifact.size_bytes:
        headers["Range"] = f"bytes={partial.size}-{end - 1}"
    async with http.request(
        artifact.download.method or "GET", signed_url(artifact.download), headers=headers, allow_redirects=False
    ) as response:
        if response.status not in {200, 206}:
            return response.status
        if partial.size and not _continues(response, partial.size):
            await partial.restart()
        before = partial.size
        chunks: list[bytes] = []
        waiting = 0
        try:
            async for chunk in response.content.iter_any():
                if partial.size + waiting + len(chunk) > artifact.size_bytes:
                    chunks, waiting = [], 0
                    raise _TooLong
                await bandwidth.take(len(chunk))
                chunks.append(chunk)
                waiting += len(chunk)
                # A store that does not know ranges sends all at once: it is not gathered in memory.
                if waiting >= RANGE:
                    await partial.add(b"".join(chunks))
                    chunks, waiting = [], 0
        finally:
            # What came before the connection broke counts.
            if chunks:
                await partial.add(b"".join(chunks))
            if partial.size > before:
                persistence.progressed()
        if partial.size == before and response.status == 206:
            raise aiohttp.ClientPayloadError("the store answers with no bytes")
        return response.status


def _continues(response: aiohttp.ClientResponse, offset: int) -> bool:
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
