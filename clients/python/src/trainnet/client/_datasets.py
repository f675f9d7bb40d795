"""Data sets: upload one, wait until it is understood, list and delete them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from os import PathLike
from pathlib import Path

from trainnet.client import _formats
from trainnet.client._digest import FileDigests, file_digests
from trainnet.client._errors import DatasetFailed, FailedPrecondition, InvalidFile, TrainNetError
from trainnet.client._models import DatasetState, Schema, moment, short
from trainnet.client._names import resource
from trainnet.client._rpc import Connection
from trainnet.client._upload import upload
from trainnet.v1 import artifact_pb2, dataset_pb2

TransferProgress = Callable[[str, int, int], None]
"""Told `("hash" | "upload" | "download <file>", bytes done, bytes in all)`."""

# Finishing an upload in thousands of parts takes the store a while.
_COMPLETE_DEADLINE_S = 180.0

# How often an upload is completed that the coordinator finds incomplete, with what is missing sent in between.
_COMPLETIONS = 3

_PAGE = 200


class Dataset:
    """A data set. Its properties say what the coordinator said last; `refresh` asks again."""

    def __init__(self, connection: Connection, message: dataset_pb2.Dataset) -> None:
        self._connection = connection
        self._message = message

    def __repr__(self) -> str:
        return f"<Dataset {self.name} {self.state}>"

    @property
    def name(self) -> str:
        """Resource name, `datasets/{dataset}`."""
        return self._message.name

    @property
    def display_name(self) -> str:
        """What its owner calls it."""
        return self._message.display_name

    @property
    def format(self) -> str:
        """`csv` or `parquet`."""
        return short(dataset_pb2.DatasetFormat, self._message.format, "DATASET_FORMAT_").lower()

    @property
    def state(self) -> DatasetState:
        """Where it is in its life."""
        return DatasetState(short(dataset_pb2.DatasetState, self._message.state, "DATASET_STATE_"))

    @property
    def message(self) -> str:
        """Why it waits or failed."""
        return self._message.state_message

    @property
    def size_bytes(self) -> int:
        """Length of the uploaded file."""
        return self._message.source.size_bytes

    @property
    def create_time(self) -> datetime | None:
        """When it was declared."""
        return moment(self._message, "create_time")

    @property
    def schema(self) -> Schema | None:
        """What preparation understood; None before it is READY."""
        return Schema.of(self._message.schema) if self._message.HasField("schema") else None

    def refresh(self) -> Dataset:
        """Asks for the present state. Raises NotFound."""
        request = dataset_pb2.GetDatasetRequest(name=self.name)
        self._message = self._connection.call(self._connection.datasets.GetDataset, request).dataset
        return self

    def wait(self, *, timeout: float | None = None, watch: Callable[[Dataset], None] | None = None) -> Dataset:
        """Returns once it is READY; `watch` sees it after each look.

        Raises DatasetFailed when it cannot be used, TrainNetError after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while True:
            if watch is not None:
                watch(self)
            if self.state is DatasetState.READY:
                return self
            if self.state is DatasetState.FAILED:
                raise DatasetFailed(
                    self.name,
                    self.message or "cannot be used",
                    hint="mend the file or choose another label, and upload it again",
                )
            if end is not None and time.monotonic() >= end:
                raise TrainNetError(
                    f"{self.name} is still {self.state} after {timeout:g} s"
                    + (f": {self.message}" if self.message else "")
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
            self.refresh()

    def delete(self) -> None:
        """Deletes it with its shards for good. Raises NotFound, FailedPrecondition (IN_USE)."""
        request = dataset_pb2.DeleteDatasetRequest(name=self.name)
        self._connection.call(self._connection.datasets.DeleteDataset, request)


class Datasets:
    """The data sets of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Dataset:
        """One by its name, with or without `datasets/`. Raises NotFound."""
        request = dataset_pb2.GetDatasetRequest(name=resource("datasets", name))
        return Dataset(self._connection, self._connection.call(self._connection.datasets.GetDataset, request).dataset)

    def list(self) -> Iterator[Dataset]:
        """All of them, newest first, a page at a time."""
        token = ""
        while True:
            request = dataset_pb2.ListDatasetsRequest(page_size=_PAGE, page_token=token)
            page = self._connection.call(self._connection.datasets.ListDatasets, request)
            yield from (Dataset(self._connection, message) for message in page.datasets)
            token = page.next_page_token
            if not token:
                return

    def delete(self, name: str) -> None:
        """Deletes one for good. Raises NotFound, FailedPrecondition (IN_USE)."""
        request = dataset_pb2.DeleteDatasetRequest(name=resource("datasets", name))
        self._connection.call(self._connection.datasets.DeleteDataset, request)

    def upload(
        self,
        path: str | PathLike[str],
        label: str | None = None,
        name: str | None = None,
        format: str | None = None,  # noqa: A002 - the word people use for it
        progress: TransferProgress | None = None,
    ) -> Dataset:
        """Uploads a CSV or Parquet file; call `wait` on the answer before training on it.

        `label` is the column to learn, inferred where None; `name` is for people, the file's name where None. The same
        file with the same name, label and format is the same data set: a second upload resumes an interrupted one
        and answers a complete one at once. One that FAILED is made anew.
        Raises InvalidFile, UploadFailed, InvalidArgument, ConnectionFailed.
        """
        file = Path(path)
        kind = _formats.detect(file, format)
        shown = name or file.name
        try:
            size = file.stat().st_size
            digests = file_digests(file, (lambda done: progress("hash", done, size)) if progress else None)
        except OSError as error:
            raise InvalidFile(str(file), f"cannot be read: {error.strerror}", hint="check the file") from None
        answer = self._declare(digests, shown, label or "", kind)
        dataset = answer.dataset
        if dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
            dataset = self._send(file, answer, progress, digests.size)
        return Dataset(self._connection, dataset)

    def _declare(self, digests: FileDigests, shown: str, label: str, kind: str) -> dataset_pb2.CreateDatasetResponse:
        """Declares the file under an id that follows from what it is; from each failed one follows the next."""
        previous = ""
        while True:
            facts = "\0".join((shown, label, kind, previous)).encode()
            identity = hashlib.sha256(b"".join(digests.parts) + facts).hexdigest()
            request = dataset_pb2.CreateDatasetRequest(
                request_id=f"upload-{identity}",
                display_name=shown,
                format=_formats.FORMATS[kind],
                declaration=artifact_pb2.UploadDeclaration(size_bytes=digests.size, part_sha256=digests.parts),
                label_column=label,
            )
            answer = self._connection.call(self._connection.datasets.CreateDataset, request)
            if answer.dataset.state != dataset_pb2.DATASET_STATE_FAILED or answer.dataset.name == previous:
                return answer
            previous = answer.dataset.name

    def _send(
        self, file: Path, answer: dataset_pb2.CreateDatasetResponse, progress: TransferProgress | None, size: int
    ) -> dataset_pb2.Dataset:
        name, stubs = answer.dataset.name, self._connection.datasets

        def regrant() -> artifact_pb2.UploadGrant:
            try:
                request = dataset_pb2.GrantDatasetUploadRequest(name=name)
                return self._connection.call(stubs.GrantDatasetUpload, request).grant
            except FailedPrecondition:  # another upload of the same file completed it
                return artifact_pb2.UploadGrant()

        grant = answer.grant
        for attempt in range(_COMPLETIONS):
            upload(
                file,
                size,
                grant,
                regrant,
                retry=self._connection.retry,
                advance=(lambda done: progress("upload", done, size)) if progress else None,
            )
            try:
                return self._connection.call(
                    stubs.CompleteDataset,
                    dataset_pb2.CompleteDatasetRequest(name=name),
                    deadline=_COMPLETE_DEADLINE_S,
                ).dataset
            except FailedPrecondition as error:
                grant = regrant()
                if not grant.parts or attempt == _COMPLETIONS - 1:  # sending once more would not mend it
                    raise error from None
        raise AssertionError("the last attempt returned or raised")
