"""What stands behind INPUT: rows of a file, images or sounds of a file or a folder, a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from trainnet.v1.dataset_pb2 import (
    DATASET_FORMAT_CSV,
    DATASET_FORMAT_JSON,
    DATASET_FORMAT_JSONL,
    DATASET_FORMAT_PARQUET,
    DatasetFormat,
)
from trainnet.worker.errors import WorkerError
from trainnet.worker.trainer.data.columns import as_bytes, as_free_text, is_media, is_text
from trainnet.worker.trainer.data.sources.opening import open_source

Kind = Literal["table", "image", "text", "sound"]
Named = tuple[str, Any]
"""How people call it, and what it is."""

_FORMATS: dict[str, DatasetFormat] = {
    ".csv": DATASET_FORMAT_CSV,
    ".tsv": DATASET_FORMAT_CSV,
    ".json": DATASET_FORMAT_JSON,
    ".jsonl": DATASET_FORMAT_JSONL,
    ".parquet": DATASET_FORMAT_PARQUET,
}
_SUFFIXES = {"image": {".png", ".jpg", ".jpeg"}, "sound": {".wav", ".flac"}}


class PredictError(WorkerError):
    """The folder or the input is not what it must be. One line: what is wrong and what to do."""


def read_batches(given: str, column: str) -> Iterator[pa.RecordBatch]:
    """Rows of a table. Raises PredictError and TaskError."""
    path = _file(given)
    if path is None or path.suffix.lower() not in _FORMATS:
        raise PredictError(f"{_short(given)} is no table: give a file that ends in {', '.join(_FORMATS)}")
    source = open_source(path, _FORMATS[path.suffix.lower()])
    if column and column not in source.columns:
        raise PredictError(f"{path} has no column {column!r}, it has {', '.join(source.columns)}")
    yield from source.batches()


def read_items(given: str, kind: Kind, column: str) -> Iterator[Named]:
    """Images and sounds as bytes, texts as words, one after the other. Raises PredictError and TaskError."""
    path = _file(given)
    if path is not None and path.suffix.lower() in _FORMATS:
        number = 1
        for batch in read_batches(given, column):
            for value in _values(batch, column or _column(batch, kind), kind):
                yield f"row {number}", value
                number += 1
    elif kind == "text":
        yield ("", given) if path is None else (path.name, _text(path))
    elif path is not None:
        yield path.name, path.read_bytes()
    elif (folder := Path(given)).is_dir():
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES[kind])
        if not files:
            raise PredictError(f"{folder} holds no {kind}: none of its files ends in {', '.join(_SUFFIXES[kind])}")
        for file in files:
            yield str(file.relative_to(folder)), file.read_bytes()
    else:
        raise PredictError(f"there is no file or folder {_short(given)}: the model takes {kind}s")


def _file(given: str) -> Path | None:
    try:
        path = Path(given)
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None  # a text is no file name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PredictError(f"{path} is not UTF-8: {error}") from error


def _column(batch: pa.RecordBatch, kind: Kind) -> str:
    fits: Callable[[pa.DataType], bool] = is_text if kind == "text" else is_media
    found = [str(field.name) for field in batch.schema if fits(field.type)]
    named = [name for name in found if name == kind or (kind == "sound" and name == "audio")]
    if named or len(found) == 1:
        return (named or found)[0]
    which = f"has {len(found)} columns of {kind}" if found else f"has no column of {kind}"
    raise PredictError(f"the table {which}: name one with --column, of {', '.join(batch.schema.names)}")


def _values(batch: pa.RecordBatch, column: str, kind: Kind) -> list[Any]:
    values = batch.column(column)
    read = as_free_text if kind == "text" else as_bytes
    empty: Any = "" if kind == "text" else b""
    return [empty if value is None else value for value in read(values).to_pylist()]


def _short(given: str) -> str:
    return repr(given if len(given) <= 80 else given[:79] + "…")
