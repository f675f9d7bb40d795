"""Uploads by grant: parts straight from the file, with exactly the headers that were signed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

import aiohttp

from trainnet.v1.artifact_pb2 import UploadGrant, UploadPart
from trainnet.worker.agent.bandwidth import PIECE, Bandwidth
from trainnet.worker.agent.transfers import BLOCK, SMALL, TRANSIENT, Persistence, signed_headers, signed_url
from trainnet.worker.errors import TaskError

Ask = Callable[[], Awaitable[UploadGrant]]
"""Asks for the parts that are left."""

_ANSWER_SECONDS = 60.0
_SLOWEST = 16 * 1024
"""Bytes per second below which a part is given up and sent again."""


class _Expired(Exception):
    """The store refuses a URL: ask for a fresh one."""


async def upload(http: aiohttp.ClientSession, bandwidth: Bandwidth, path: Path, size: int, ask: Ask) -> str:
    """Uploads a file and answers the digest that its object has. Stored parts are not sent again. Raises TaskError."""
    persistence = Persistence(f"the upload of {path.name}")
    while True:
        grant = await ask()
        if not grant.parts:
            return grant.digest
        stored = grant.stored_bytes
        try:
            # One after the other: a store that hashes several parts at once takes a fifth more CPU for the same bytes,
            # and 64 MiB at a time fill any line.
            for part in grant.parts:
                await _put(http, bandwidth, path, part, persistence)
                stored += part.size_bytes
        except _Expired as error:
            await persistence.refused(int(str(error)))
            continue
        # Every byte is accounted for: no need to ask whether anything is left.
        if stored >= size:
            return grant.digest


async def _put(
    http: aiohttp.ClientSession, bandwidth: Bandwidth, path: Path, part: UploadPart, persistence: Persistence
) -> None:
    """Stores one part, however often the store has to be asked. Raises _Expired, TaskError."""
    while True:
        try:
            status, message = await _attempt(http, bandwidth, path, part)
        except TRANSIENT as error:
            if _expired(part):
                raise _Expired("403") from error
            await persistence.broke(str(error) or type(error).__name__)
            continue
        if status in {200, 201, 204, 412}:
            # 412: create-only, and our earlier attempt arrived though its answer did not. Its bytes were declared.
            persistence.progressed()
            return
        if status in {401, 403, 404}:
            # 404: the multipart upload is gone; a fresh grant begins another.
            raise _Expired(str(status))
        if status in {400, 411, 413}:
            persistence.damaged(f"the store refuses the bytes of part {part.part_number} ({status}): {message}")
            continue
        await persistence.broke(f"the store answers {status}")


async def _attempt(http: aiohttp.ClientSession, bandwidth: Bandwidth, path: Path, part: UploadPart) -> tuple[int, str]:
    headers = signed_headers(part.request)
    if not any(name.lower() == "content-length" for name in headers):
        headers["Content-Length"] = str(part.size_bytes)
    with path.open("rb", buffering=0) as file:
        file.seek(part.offset_bytes)
        at_once = part.size_bytes <= SMALL and not bandwidth.limited
        async with (
            asyncio.timeout(_ANSWER_SECONDS + part.size_bytes / _SLOWEST) as deadline,
            http.request(
                part.request.method or "PUT",
                signed_url(part.request),
                headers=headers,
                data=file.read(part.size_bytes) if at_once else _blocks(file, part.size_bytes, bandwidth, deadline),
                allow_redirects=False,
            ) as response,
        ):
            message = "" if response.status < 300 else (await response.text(errors="replace"))[:200]
            return response.status, message


async def _blocks(file: BinaryIO, size: int, bandwidth: Bandwidth, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
    left, most = size, PIECE if bandwidth.limited else BLOCK
    while left:
        block = await asyncio.to_thread(file.read, min(most, left))
        if not block:
            raise TaskError("WORKER", "the file to upload was cut short; is the disk full?")
        left -= len(block)
        wait, until = bandwidth.book(len(block)), deadline.when()
        if wait and until is not None and not deadline.expired():
            # The owner's limit is not the store's fault.
            deadline.reschedule(until + wait)
            await asyncio.sleep(wait)
        yield block


def _expired(part: UploadPart) -> bool:
    return part.request.expire_time.seconds != 0 and part.request.expire_time.seconds <= time.time()
