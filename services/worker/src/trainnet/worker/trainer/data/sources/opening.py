"""Which module reads which format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainnet.v1.dataset_pb2 import (
    DATASET_FORMAT_CSV,
    DATASET_FORMAT_JSON,
    DATASET_FORMAT_JSONL,
    DATASET_FORMAT_PARQUET,
    DATASET_FORMAT_TEXT,
    DATASET_FORMAT_ZIP,
    DatasetFormat,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.sources.csv_file import CsvSource
from trainnet.worker.trainer.data.sources.json_file import JsonArraySource, JsonLinesSource
from trainnet.worker.trainer.data.sources.parquet import ParquetSource
from trainnet.worker.trainer.data.sources.plain_text import PlainTextSource
from trainnet.worker.trainer.data.sources.source import Source
from trainnet.worker.trainer.data.sources.zip_archive import ZipSource


def open_source(path: Path, kind: DatasetFormat, names: Sequence[str] | None = None) -> Source:
    """Looks at the beginning of a file. `names` are its columns where an inspection found them, which spares formats
    without a header a pass. Raises TaskError when the file is not what it claims to be."""
    if path.stat().st_size == 0:
        raise TaskError("TASK", "the file is empty")
    if kind == DATASET_FORMAT_CSV:
        return CsvSource(path)
    if kind == DATASET_FORMAT_PARQUET:
        return ParquetSource(path)
    if kind == DATASET_FORMAT_JSON:
        return JsonArraySource(path, names)
    if kind == DATASET_FORMAT_JSONL:
        return JsonLinesSource(path, names)
    if kind == DATASET_FORMAT_ZIP:
        return ZipSource(path)
    if kind == DATASET_FORMAT_TEXT:
        return PlainTextSource(path)
    raise TaskError("WORKER", f"this worker does not know the data format {kind}: update it")
