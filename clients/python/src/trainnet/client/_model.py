"""Downloads a model's folder, whole or not at all; waits for it to be made where it is being made."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from trainnet.client._datasets import TransferProgress
from trainnet.client._download import download
from trainnet.client._errors import DownloadCorrupt, InvalidFile, PermissionDenied
from trainnet.client._rpc import Connection
from trainnet.client._workers import Workers
from trainnet.v1 import artifact_pb2, job_pb2

_WAIT_S = 5
"""For so long a call waits for the folder to be made."""

_PATIENCE_S = 3600.0


def download_model(
    connection: Connection,
    job: str,
    target: Path,
    round_number: int,
    *,
    overwrite: bool,
    wait: bool,
    progress: TransferProgress | None,
) -> Path:
    """Makes `target` the folder of the round's model (0: the last merged one). See Job.download."""
    _check_free(target, overwrite)
    answer = _wait(connection, job, progress) if wait else _ask(connection, job, round_number)
    # Named after what it holds, so that the next attempt finds and resumes it.
    held = f"{job.removeprefix('jobs/')}-{answer.round}" + ("-exported" if answer.exported else "")
    partial = target.with_name(f".{target.name}.{held}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for file in answer.files:
            path = _inside(partial, file.path)
            if path.exists() and _sha256(path) == file.sha256:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.WhichOneof("content") == "artifact":
                download(
                    file.artifact,
                    path,
                    sha256=file.sha256,
                    renew=_renew(connection, job, answer.round, file.path),
                    retry=connection.retry,
                    advance=_advance(progress, file),
                )
            else:
                path.write_bytes(file.inline)
                if file.sha256 and _sha256(path) != file.sha256:
                    raise DownloadCorrupt(f"{file.path}: its bytes are not the promised ones")
        _put_in_place(partial, target, overwrite)
    except OSError as error:
        raise InvalidFile(
            str(target), f"cannot be written: {error.strerror or error}", hint="check the disk and its permissions"
        ) from None
    return target


def _ask(connection: Connection, job: str, round_number: int, wait_seconds: int = 0) -> job_pb2.GetModelResponse:
    request = job_pb2.GetModelRequest(name=job, round=round_number, wait_seconds=wait_seconds)
    return connection.call(connection.jobs.GetModel, request, deadline=30.0 + wait_seconds)


def _wait(connection: Connection, job: str, progress: TransferProgress | None) -> job_pb2.GetModelResponse:
    """The newest model, once its folder is made, or as it is where nobody is there to make it."""
    start = time.monotonic()
    while True:
        asked = time.monotonic()
        answer = _ask(connection, job, 0, _WAIT_S)
        now = time.monotonic()
        # An answer long before its time says that there is nothing to wait for.
        if answer.exported or now - asked < _WAIT_S / 2 or now - start > _PATIENCE_S or not _makers(connection):
            return answer
        if progress:
            progress("export", round(now - start), 0)


def _makers(connection: Connection) -> bool:
    """Whether a trusted worker is there; who may not know is told that there is one."""
    try:
        return any(
            found.online and not found.banned and found.pool == "trusted" for found in Workers(connection).list()
        )
    except PermissionDenied:
        return True


def _renew(connection: Connection, job: str, round_number: int, path: str) -> Callable[[], artifact_pb2.Artifact]:
    def renew() -> artifact_pb2.Artifact:
        for file in _ask(connection, job, round_number).files:
            if file.path == path:
                return file.artifact
        raise DownloadCorrupt(f"{path}: the model has no such file any more")

    return renew


def _advance(progress: TransferProgress | None, file: job_pb2.ModelFile) -> Callable[[int], None] | None:
    if progress is None:
        return None
    name, size = f"download {file.path}", file.artifact.size_bytes
    return lambda done: progress(name, done, size)


def _check_free(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        if not overwrite and any(target.iterdir()):
            raise InvalidFile(
                str(target),
                "holds something already",
                hint="name another folder, or replace it: --force, overwrite=True",
            )
    elif target.exists():
        raise InvalidFile(str(target), "is a file", hint="name a folder")


def _inside(folder: Path, path: str) -> Path:
    """The path in the folder. A path that leads out of it is refused, whoever sent it."""
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise DownloadCorrupt(f"the model names a file {path!r}, which leads out of its folder")
    return folder.joinpath(*pure.parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put_in_place(partial: Path, target: Path, overwrite: bool) -> None:
    if not target.exists() or not any(target.iterdir()):
        partial.replace(target)  # an empty folder gives way to it
        return
    if not overwrite:
        raise InvalidFile(
            str(target), "was filled meanwhile", hint="name another folder, or replace it: --force, overwrite=True"
        )
    aside = target.with_name(f".{target.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    partial.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
