"""Downloads an object into a file: resumed, checked, and renamed into place only when it is right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from trainnet.client import _http
from trainnet.client._digest import CHUNK_BYTES, PART_BYTES, Advance, Hasher
from trainnet.client._errors import DownloadCorrupt, DownloadFailed
from trainnet.client._rpc import Retry
from trainnet.v1 import artifact_pb2

# Failures in a row, without a single byte in between, after which a download is given up.
_MAX_FAILURES = 8

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(
    artifact: artifact_pb2.Artifact,
    target: Path,
    *,
    sha256: str = "",
    renew: Callable[[], artifact_pb2.Artifact] | None = None,
    retry: Retry,
    advance: Advance | None = None,
) -> None:
    """Makes `target` the artifact's bytes, or leaves it as it was.

    The bytes come into a hidden file beside it whose name holds the digest, so that an interrupted download is
    resumed, in this process or in a later one. They are checked against the artifact's digest and against `sha256` of
    the whole in hex, where given. `renew` answers the same artifact with a fresh URL once the old one has expired, and
    is asked too when the object is not there any more: what it raises says why, and passes.
    Raises DownloadFailed, DownloadCorrupt after a second whole download that was wrong, OSError when the disk refuses.
    """
    identity = re.sub(r"\W", "", artifact.digest.partition(":")[2])[:16]
    partial = target.with_name(f".{target.name}.{identity}.part")
    for attempt in range(2):
        hasher = _fetch(artifact, partial, renew=renew, retry=retry, advance=advance)
        composite = artifact.digest.startswith("sha256-parts:")
        right = hasher.digest(composite=composite) == artifact.digest and sha256 in ("", hasher.sha256())
        if right:
            partial.replace(target)
            return
        partial.unlink(missing_ok=True)
        if attempt:
            break
    raise DownloadCorrupt(
        f"{target.name}: the bytes in the store are not the promised ones", hint="tell the operator of the coordinator"
    )


def _fetch(
    artifact: artifact_pb2.Artifact,
    partial: Path,
    *,
    renew: Callable[[], artifact_pb2.Artifact] | None,
    retry: Retry,
    advance: Advance | None,
) -> Hasher:
    """Completes the partial file and answers the digests of all of it."""
    composite = artifact.digest.startswith("sha256-parts:")
    failures = 0
    with partial.open("a+b") as file:
        have = file.seek(0, 2)
        if have > artifact.size_bytes:
            have = 0
            file.truncate(0)
        while have < artifact.size_bytes:
            before = have
            have, problem = _get(artifact, file, have, advance)
            if have >= artifact.size_bytes:
                break
            failures = 0 if have > before else failures + 1
            if failures >= _MAX_FAILURES:
                raise DownloadFailed(
                    f"{partial.name.split('.')[1]}: the object store does not give it ({problem or 'it ends early'})",
                    hint="download again: it goes on where it stopped",
                )
            time.sleep(retry.pause(failures))
            if renew is not None and problem.startswith(("403", "404")):
                artifact = renew()
        hasher = Hasher(artifact.part_size_bytes or PART_BYTES, composite=composite)
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher


def _get(artifact: artifact_pb2.Artifact, file: BinaryIO, have: int, advance: Advance | None) -> tuple[int, str]:
    """Appends what one request gives. Answers the length reached and what went wrong, if anything did.

    OSError comes from the file only: what breaks on the network is answered.
    """
    with ExitStack() as stack:
        headers = {"Range": f"bytes={have}-"} if have else None
        try:
            answer = stack.enter_context(_http.send(artifact.download, headers=headers))
        except _http.BROKEN as error:
            return have, str(error) or type(error).__name__
        if answer.status == 200:
            file.truncate(0)
            have = 0
        elif answer.status != 206:
            return have, answer.problem()
        elif (found := _RANGE.match(answer.header("content-range"))) is None or int(found[1]) != have:
            return have, "the store answered another range"
        chunks = answer.chunks(CHUNK_BYTES)
        while have < artifact.size_bytes:
            try:
                chunk = next(chunks, b"")
            except _http.BROKEN as error:
                return have, str(error) or type(error).__name__
            if not chunk:
                return have, ""
            have += file.write(chunk[: artifact.size_bytes - have])
            if advance:
                advance(have)
    return have, ""
