"""A zip of images or sound: in folders named by their class, or with a `metadata.csv`.

cats/1.png                      columns image, label
train/cats/1.png, test/…        columns image, label, split
metadata.csv, clips/1.wav       columns audio and those of metadata.csv but `file_name`
train/metadata.csv, test/…      the same, and split
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import HELD_OUT, TRAINING
from trainnet.worker.trainer.data.sources.source import Wanted, check_names, select
from trainnet.worker.trainer.data.sources.text import what_it_is
from trainnet.worker.trainer.data.sources.zip_entries import Archive, Entry, shown

METADATA = "metadata.csv"
FILE_NAME = "file_name"

_SUFFIXES = {".png": "image", ".jpg": "image", ".jpeg": "image", ".wav": "audio", ".flac": "audio"}
_NOTES = {".md", ".txt", ".rst", ""}
_BATCH_ROWS = 512
_BATCH_BYTES = 8 << 20
_Row = tuple[Entry, tuple[str, ...]]


class ZipSource:
    """Files of a zip as rows; the archive is closed with the object that reads it."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(8)
        if not head.startswith(b"PK"):
            what = what_it_is(head) or "something else"
            raise TaskError("TASK", f"the file is not a zip but {what}; upload a zip, or name the right format")
        self._archive = Archive(path)
        entries = _without_common_folder(self._archive.entries)
        tables = [entry for entry in entries if entry.parts[-1] == METADATA]
        splits = _has_splits(entries)
        self._texts, self._rows = self._described(entries, tables, splits) if tables else _in_folders(entries, splits)
        if not self._rows:
            raise TaskError("TASK", "the zip has no images and no sound; put PNG, JPEG, WAV or FLAC files into it")
        self._media = _one_kind(self._rows)
        check_names([self._media, *self._texts])
        self.columns: dict[str, pa.DataType] = {
            self._media: pa.large_binary(),
            **dict.fromkeys(self._texts, pa.string()),
        }

    def batches(self, wanted: Wanted | None = None) -> Iterator[pa.RecordBatch]:
        """See Source."""
        names = select(self.columns, wanted)
        waiting: list[_Row] = []
        size = 0
        for row in self._rows:
            waiting.append(row)
            size += row[0].info.file_size
            if len(waiting) == _BATCH_ROWS or size >= _BATCH_BYTES:
                yield self._batch(waiting, names)
                waiting, size = [], 0
        if waiting:
            yield self._batch(waiting, names)

    def _batch(self, rows: list[_Row], names: tuple[str, ...]) -> pa.RecordBatch:
        arrays = [
            pa.array([self._archive.read(entry) for entry, _ in rows], pa.large_binary())
            if name == self._media
            else pa.array([texts[self._texts.index(name)] or None for _, texts in rows], pa.string())
            for name in names
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(names))

    def _described(self, entries: list[Entry], tables: list[Entry], splits: bool) -> tuple[list[str], list[_Row]]:
        """Rows as the metadata tell; files that they do not name are left out."""
        by_name = {"/".join(entry.parts): entry for entry in entries}
        rows: list[_Row] = []
        names: list[str] = []
        for table in tables:
            folder, name = table.parts[:-1], "/".join(table.parts)
            if folder and not (splits and len(folder) == 1):
                raise TaskError("TASK", f"{shown(name)}: put one {METADATA} at the top of the zip")
            columns, records = _table(self._archive.read(table), name)
            at = columns.index(FILE_NAME)
            add_split = splits and "split" not in columns
            texts = [*columns[:at], *columns[at + 1 :], *(["split"] if add_split else [])]
            if rows and texts != names:
                raise TaskError("TASK", f"the {METADATA} files of the zip have different columns; make them alike")
            names = texts
            for line, values in records:
                path = str(PurePosixPath(*folder, values.pop(at)))
                entry = by_name.get(path)
                if entry is None:
                    raise TaskError(
                        "TASK", f"line {line} of {name} names {shown(path)}, which is not in the zip; mend it"
                    )
                rows.append((entry, (*values, _split_of(entry)) if add_split else tuple(values)))
        return names, rows


def _table(data: bytes, name: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of a CSV in the archive, and its lines with their numbers."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TaskError("TASK", f"line {line} of {name} is not UTF-8; save it as UTF-8") from None
    records = csv.reader(io.StringIO(text, newline=""), strict=True)

    def lines() -> Iterator[tuple[int, list[str]]]:
        try:
            for record in records:
                if record and len(record) != len(header):
                    raise TaskError(
                        "TASK",
                        f"line {records.line_num} of {name} has {len(record)} values, the header has {len(header)}; "
                        "mend it",
                    )
                if record:
                    yield records.line_num, record
        except csv.Error as error:
            raise TaskError("TASK", f"line {records.line_num} of {name} cannot be read: {error}") from error

    header = [column.strip() for column in next(records, [])]
    check_names(header)
    if FILE_NAME not in header:
        raise TaskError("TASK", f"{name} has no column {FILE_NAME!r}; add it, with the path of each file")
    if "" in header:
        raise TaskError("TASK", f"{name} has a column without a name; name it")
    return header, lines()


def _in_folders(entries: list[Entry], splits: bool) -> tuple[list[str], list[_Row]]:
    rows: list[_Row] = []
    for entry in entries:
        folders = entry.parts[1:-1] if splits else entry.parts[:-1]
        if folders:
            rows.append((entry, (folders[0], _split_of(entry)) if splits else (folders[0],)))
        elif PurePosixPath(entry.parts[-1]).suffix.lower() not in _NOTES:
            raise TaskError(
                "TASK",
                f"{shown('/'.join(entry.parts))} lies in no folder; put each file into a folder named by its class, "
                f"or add a {METADATA} with a column {FILE_NAME}",
            )
    return ["label", "split"] if splits else ["label"], rows


def _one_kind(rows: list[_Row]) -> str:
    """`image` or `audio`, for all rows."""
    kinds = {_kind(entry) for entry, _ in rows}
    if len(kinds) > 1:
        raise TaskError("TASK", "the zip mixes images and sound; upload them apart")
    return kinds.pop()


def _kind(entry: Entry) -> str:
    kind = _SUFFIXES.get(PurePosixPath(entry.parts[-1]).suffix.lower())
    if kind is None:
        raise TaskError(
            "TASK", f"{shown('/'.join(entry.parts))} is neither PNG, JPEG, WAV nor FLAC; convert or remove it"
        )
    return kind


def _without_common_folder(entries: list[Entry]) -> list[Entry]:
    """Takes off a folder that everything lies in: `mnist/train/7/1.png` is `train/7/1.png`.

    Not the last folder above the files, which is their class.
    """
    while entries:
        tops = {entry.parts[0] for entry in entries}
        described = any(entry.parts[1:] == (METADATA,) for entry in entries)
        media = [entry for entry in entries if PurePosixPath(entry.parts[-1]).suffix.lower() in _SUFFIXES]
        depth = min((len(entry.parts) for entry in media), default=0)
        if len(tops) > 1 or not (depth > 2 or described):
            break
        entries = [Entry(entry.parts[1:], entry.info) for entry in entries]
    return entries


def _has_splits(entries: list[Entry]) -> bool:
    """Whether the top folders are `train` and `test` by some of their names."""
    tops = {entry.parts[0].lower() for entry in entries if len(entry.parts) > 1}
    return bool(tops & TRAINING and tops & HELD_OUT and tops <= TRAINING | HELD_OUT)


def _split_of(entry: Entry) -> str:
    return "train" if entry.parts[0].lower() in TRAINING else entry.parts[0].lower()
