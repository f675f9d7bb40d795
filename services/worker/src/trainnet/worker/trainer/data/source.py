"""An owner's file as a stream of Arrow batches, in constant memory.

Columns of a CSV come as text: what they hold is decided over the whole file, never from its first block.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from trainnet.v1.dataset_pb2 import DATASET_FORMAT_CSV, DATASET_FORMAT_PARQUET, DatasetFormat
from trainnet.worker.errors import TaskError

_HEAD = 1 << 20
_BLOCK = 4 << 20
_TABLE_ROWS = 16_384
_BINARY_ROWS = 256
_MAGIC = {
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive or spreadsheet",
    b"\x1f\x8b": "a gzip file (unpack it first)",
    b"\x28\xb5\x2f\xfd": "a zstd file (unpack it first)",
    b"ARROW1": "an Arrow file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True)
class Source:
    """A readable file: its columns with their Arrow types, in file order, and its size in bytes."""

    path: Path
    columns: dict[str, pa.DataType]
    delimiter: str | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows, in file order. Raises TaskError naming the line that cannot be read."""
        return self._csv() if self.delimiter is not None else self._parquet()

    def _csv(self) -> Iterator[pa.RecordBatch]:
        bad: list[Any] = []

        def on_invalid(row: Any) -> str:
            bad.append(row)
            return "error"

        try:
            reader = pa_csv.open_csv(
                self.path,
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=on_invalid
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(_csv_header(self.path)[1], pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            with reader:
                for batch in reader:
                    yield batch.rename_columns(list(self.columns))
        except pa.ArrowInvalid as error:
            raise _csv_error(error, bad[0] if bad else None) from error

    def _parquet(self) -> Iterator[pa.RecordBatch]:
        wide = any(is_image_type(kind) for kind in self.columns.values())
        try:
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
                for batch in file.iter_batches(batch_size=_BINARY_ROWS if wide else _TABLE_ROWS, use_threads=False):
                    yield batch.rename_columns(list(self.columns))
        except (pa.ArrowException, OSError) as error:
            raise TaskError("TASK", f"the Parquet file is damaged: {_first_line(error)}") from error


def open_source(path: Path, kind: DatasetFormat) -> Source:
    """Looks at the beginning of a file. Raises TaskError when it is not what it claims to be."""
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise TaskError("TASK", "the file is empty")
    if kind == DATASET_FORMAT_CSV:
        return _open_csv(path, head)
    if kind == DATASET_FORMAT_PARQUET:
        return _open_parquet(path, head)
    raise TaskError("WORKER", f"this worker does not know the data format {kind}: update it")


def is_image_type(kind: pa.DataType) -> bool:
    """Bytes, or a struct with a field `bytes` as Hugging Face data sets have it."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_image_type(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _open_csv(path: Path, head: bytes) -> Source:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise TaskError("TASK", f"the file is not CSV but {what}; upload a CSV file, or name the right format")
    delimiter, header = _csv_header(path)
    names = [name.strip() or f"column_{number}" for number, name in enumerate(header, start=1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TaskError("TASK", f"column {twice[0]!r} appears twice in the header; give each column a name of its own")
    if all(_is_number(name) for name in names):
        raise TaskError(
            "TASK", f"line 1 holds numbers ({', '.join(names[:3])}, …) instead of column names; add a header line"
        )
    return Source(path, dict.fromkeys(names, pa.string()), delimiter)


def _csv_header(path: Path) -> tuple[str, list[str]]:
    with path.open("rb") as file:
        raw = file.read(_HEAD)
    if b"\0" in raw:
        raise TaskError("TASK", "the file is not CSV: it contains binary data; upload a CSV file in UTF-8")
    # The window may end inside of a character; the header does not.
    text = raw.decode("utf-8-sig", errors="replace")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    try:
        record = next((row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row), None)
    except csv.Error as error:
        raise TaskError("TASK", f"line 1 cannot be read as a CSV header: {error}") from error
    if record is None:
        raise TaskError("TASK", "the file has no lines")
    if any("\ufffd" in name for name in record):
        raise TaskError("TASK", "line 1 is not UTF-8; save the file as UTF-8")
    return delimiter, record


def _open_parquet(path: Path, head: bytes) -> Source:
    if not head.startswith(b"PAR1"):
        what = next((what for magic, what in _MAGIC.items() if head.startswith(magic)), "something else")
        raise TaskError("TASK", f"the file is not Parquet but {what}; upload a Parquet file, or name the right format")
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise TaskError("TASK", f"the Parquet file is damaged: {_first_line(error)}") from error
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise TaskError("TASK", f"column {twice[0]!r} appears twice; give each column a name of its own")
    if not schema.names:
        raise TaskError("TASK", "the Parquet file has no columns")
    return Source(path, {field.name: field.type for field in schema})


def _csv_error(error: Exception, row: Any) -> TaskError:
    if row is not None and row.number is not None:
        return TaskError(
            "TASK",
            f"line {row.number} has {row.actual_columns} values, the header has {row.expected_columns}; mend the line",
        )
    message = _first_line(error)
    if "invalid UTF8" in message:
        where = message.split("Row #")[-1].split(":")[0] if "Row #" in message else ""
        return TaskError("TASK", f"{'line ' + where if where else 'a value'} is not UTF-8; save the file as UTF-8")
    if "Empty CSV" in message:
        return TaskError("TASK", "the file has no rows")
    if "straddling" in message:
        return TaskError("TASK", "a line is longer than 4 MiB, or a quote is never closed; mend it")
    return TaskError("TASK", f"the CSV file cannot be read: {message}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
