"""Uploads a file by granted requests, and goes on where it stopped whatever breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from trainnet.client import _http
from trainnet.client._digest import CHUNK_BYTES, Advance
from trainnet.client._errors import FailedPrecondition, UploadFailed
from trainnet.client._rpc import Retry
from trainnet.v1 import artifact_pb2

# Windows in a row of which the store kept nothing, after which an upload is given up.
_MAX_FAILURES = 8

# How often an upload is completed that the coordinator finds incomplete, with what is missing sent in between.
_COMPLETIONS = 3

COMPLETE_DEADLINE_S = 180.0
"""Finishing an upload in thousands of parts takes the store a while."""

_STORED_ALREADY = 412

_Completed = TypeVar("_Completed")


class _PartRefused(Exception):
    """The store answered a part with an error that another attempt may not meet."""


_PARTS_FAIL: tuple[type[Exception], ...] = (_PartRefused, *_http.BROKEN)


def send(
    path: Path,
    size: int,
    first: artifact_pb2.UploadGrant,
    regrant: Callable[[], artifact_pb2.UploadGrant],
    complete: Callable[[], _Completed],
    *,
    retry: Retry,
    advance: Advance | None = None,
) -> _Completed:
    """Uploads the file and completes the upload; answers what `complete` does. `advance` hears first of what an earlier
    attempt stored.

    A `regrant` refused with FailedPrecondition says that another upload of the same file completed it.
    Raises UploadFailed, FailedPrecondition where sending once more would not mend it.
    """

    def again() -> artifact_pb2.UploadGrant:
        try:
            return regrant()
        except FailedPrecondition:
            return artifact_pb2.UploadGrant()

    grant = first
    for attempt in range(_COMPLETIONS):
        upload(path, size, grant, again, retry=retry, advance=advance)
        try:
            return complete()
        except FailedPrecondition as error:
            grant = again()
            if not grant.parts or attempt == _COMPLETIONS - 1:
                raise error from None
    raise AssertionError("the last attempt returned or raised")


def upload(
    path: Path,
    size: int,
    first: artifact_pb2.UploadGrant,
    regrant: Callable[[], artifact_pb2.UploadGrant],
    *,
    retry: Retry,
    advance: Advance | None = None,
) -> None:
    """Stores every part of the file of `size` bytes, asking `regrant` for what is left after each window and failure.

    Returns once every byte was taken, or nothing is left to send; whether it is all there is the coordinator's to say.
    Raises UploadFailed when the store keeps refusing, or at once when the file is not the one declared; an error of
    `regrant` passes.
    """
    grant, failures, best = first, 0, first.stored_bytes
    if advance:
        advance(best)
    while grant.parts:
        problem, stored = "", grant.stored_bytes
        try:
            for part in grant.parts:
                _put(path, part, stored, advance)
                stored += part.size_bytes
        except FileNotFoundError:
            raise UploadFailed(f"{path}: the file is gone", hint="put it back and upload it again") from None
        except _PARTS_FAIL as error:
            problem = " ".join(str(error).split()) or type(error).__name__
        if not problem and stored >= size:
            break
        grant = regrant()
        # What counts is what the store kept, not what it answered: no loop may last for ever.
        failures = 0 if grant.stored_bytes > best else failures + 1
        best = max(best, grant.stored_bytes)
        if failures >= _MAX_FAILURES and grant.parts:
            raise UploadFailed(
                f"{path}: the object store does not keep it ({problem or 'parts vanish'})",
                hint="upload the same file again: it goes on where it stopped",
            )
        if failures and grant.parts:
            time.sleep(retry.pause(failures))
    if advance:
        advance(size)


def _put(path: Path, part: artifact_pb2.UploadPart, before: int, advance: Advance | None) -> None:
    with _http.send(part.request, body=_read(path, part, before, advance)) as answer:
        if answer.status < 300 or answer.status == _STORED_ALREADY:
            return
        problem = answer.problem()
        if "BadDigest" in problem or "XAmzContentChecksumMismatch" in problem:
            raise UploadFailed(
                f"{path}: its bytes are not the ones that were declared (it changed while it was uploaded)",
                hint="upload it again when nobody writes to it",
            )
        raise _PartRefused(problem)


def _read(path: Path, part: artifact_pb2.UploadPart, before: int, advance: Advance | None) -> Iterator[bytes]:
    left = part.size_bytes
    with path.open("rb") as file:
        file.seek(part.offset_bytes)
        while left:
            chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise UploadFailed(
                    f"{path}: it became shorter while it was uploaded",
                    hint="upload it again when nobody writes to it",
                )
            left -= len(chunk)
            yield chunk
            if advance:
                advance(before + part.size_bytes - left)
