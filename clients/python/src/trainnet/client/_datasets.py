"""Data sets: upload one, wait until it is understood, list and delete them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path

from trainnet.client import _folders, _formats
from trainnet.client._digest import FileDigests, file_digests
from trainnet.client._errors import DatasetFailed, InvalidFile, TrainNetError
from trainnet.client._models import DatasetState, moment, short
from trainnet.client._names import resource
from trainnet.client._profiles import Profile, Schema, reading
from trainnet.client._rpc import Connection
from trainnet.client._upload import COMPLETE_DEADLINE_S, send
from trainnet.v1 import artifact_pb2, dataset_pb2

TransferProgress = Callable[[str, int, int], None]
"""Told `("zip" | "hash" | "upload" | "export" | "download <file>", bytes done, bytes in all)`. An upload that goes on
where it stopped begins with the bytes that are stored already; `export` waits for the model's folder, in seconds."""

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
        """`csv`, `parquet`, `json`, `jsonl`, `zip` or `text`."""
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

    @property
    def profile(self) -> Profile | None:
        """What the data look like; None before it is READY, and in data sets that came from a list: refresh them."""
        return Profile.of(self._message) if self._message.HasField("profile") else None

    @property
    def label(self) -> str:
        """The label column that its owner asked for: empty where it is inferred, `-` for none."""
        return self._message.reading.label_column or self._message.label_column

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds of columns that its owner asked for."""
        asked = self._message.reading.column_kinds
        return {name: short(dataset_pb2.ColumnKind, kind, "COLUMN_KIND_").lower() for name, kind in asked.items()}

    @property
    def split_column(self) -> str:
        """The split column that its owner asked for: empty where it is inferred, `-` for none."""
        return self._message.reading.split_column

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
                    hint="mend the file and upload it again, or choose another label: `trainnet datasets edit`",
                )
            if end is not None and time.monotonic() >= end:
                raise TrainNetError(
                    f"{self.name} is still {self.state} after {timeout:g} s"
                    + (f": {self.message}" if self.message else "")
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
            self.refresh()

    def update(
        self,
        *,
        label: str | None = None,
        kinds: Mapping[str, str] | None = None,
        split_column: str | None = None,
    ) -> Dataset:
        """Says what inspection understood wrong; it is inspected again: `wait` for that. What is None stays as it is.

        `label` and `split_column` are columns, `-` for none, an empty text to infer it again; `kinds` maps columns to
        what they hold, or to `auto` to infer it again. Jobs that exist keep what they were created with.
        Raises InvalidArgument that names the column, NotFound, FailedPrecondition (UPLOAD_INCOMPLETE).
        """
        before = self._message.reading
        if not before.label_column:
            before.label_column = self._message.label_column
        request = dataset_pb2.UpdateDatasetRequest(name=self.name, reading=reading(label, kinds, split_column, before))
        self._message = self._connection.call(self._connection.datasets.UpdateDataset, request).dataset
        return self

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
        *,
        kinds: Mapping[str, str] | None = None,
        split_column: str | None = None,
    ) -> Dataset:
        """Uploads a file (CSV, TSV, JSON, JSONL, Parquet, zip, text) or a folder of class folders, which is zipped on
        the way; call `wait` on the answer before training on it.

        `label` is the column to learn, inferred where None, none where `-`; `kinds` says what columns hold (`text`,
        `categorical`, `numeric`, `image`, `audio`, `ignored`), `split_column` which one holds rows out, where that
        differs from what inspection would understand. `name` is for people, the file's name where None. The same
        data with the same name, reading and format are the same data set: a second upload resumes an interrupted one
        and answers a complete one at once. One that FAILED is made anew.
        Raises InvalidFile, UploadFailed, InvalidArgument, ConnectionFailed.
        """
        source = Path(path)
        asked = reading(label, kinds, split_column)
        if not source.is_dir():
            return self._upload(source, name or source.name, _formats.detect(source, format), asked, progress)
        if format not in (None, _formats.ZIP):
            raise InvalidFile(str(source), f"is a folder, not {format}", hint="leave the format out, or name a file")
        files = _folders.data_files(source)
        shown = name or source.resolve().name
        with _folders.zipped(source, files, partial(progress, "zip") if progress else None) as archive:
            return self._upload(archive, shown, _formats.ZIP, asked, progress)

    def _upload(
        self, file: Path, shown: str, kind: str, asked: dataset_pb2.DatasetReading, progress: TransferProgress | None
    ) -> Dataset:
        size = file.stat().st_size
        digests = file_digests(file, (lambda done: progress("hash", done, size)) if progress else None)
        answer = self._declare(digests, shown, asked, kind)
        dataset, stubs = answer.dataset, self._connection.datasets
        if dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
            again = dataset_pb2.GrantDatasetUploadRequest(name=dataset.name)
            complete = dataset_pb2.CompleteDatasetRequest(name=dataset.name)
            dataset = send(
                file,
                digests.size,
                answer.grant,
                lambda: self._connection.call(stubs.GrantDatasetUpload, again).grant,
                lambda: self._connection.call(stubs.CompleteDataset, complete, deadline=COMPLETE_DEADLINE_S).dataset,
                retry=self._connection.retry,
                advance=(lambda done: progress("upload", done, size)) if progress else None,
            )
        return Dataset(self._connection, dataset)

    def _declare(
        self, digests: FileDigests, shown: str, asked: dataset_pb2.DatasetReading, kind: str
    ) -> dataset_pb2.CreateDatasetResponse:
        """Declares the file under an id that follows from what it is; from each failed one follows the next."""
        overrides = (f"{column}={asked.column_kinds[column]}" for column in sorted(asked.column_kinds))
        facts = (shown, asked.label_column, kind, asked.split_column, *overrides)
        previous = ""
        while True:
            identity = hashlib.sha256(b"".join(digests.parts) + "\0".join((*facts, previous)).encode()).hexdigest()
            request = dataset_pb2.CreateDatasetRequest(
                request_id=f"upload-{identity}",
                display_name=shown,
                format=_formats.FORMATS[kind],
                declaration=artifact_pb2.UploadDeclaration(size_bytes=digests.size, part_sha256=digests.parts),
                label_column="" if asked.label_column == "-" else asked.label_column,
                reading=asked,
            )
            answer = self._connection.call(self._connection.datasets.CreateDataset, request)
            if answer.dataset.state != dataset_pb2.DATASET_STATE_FAILED or answer.dataset.name == previous:
                return answer
            previous = answer.dataset.name
