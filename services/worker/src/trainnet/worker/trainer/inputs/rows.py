"""What all encodings share: reading a prepared Parquet file in blocks, and its labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import ColumnKind, DataSchema
from trainnet.worker.errors import TaskError


def blocks(path: Path, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the first row, from 1; rows), in constant memory. Raises TaskError."""
    first_row = 1
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                if batch.num_rows:
                    yield first_row, batch
                    first_row += batch.num_rows
    except (pa.ArrowException, KeyError) as error:
        raise TaskError("TASK", f"the shard cannot be read: {error}") from error


def column_of(schema: DataSchema, kind: ColumnKind, what: str) -> str:
    """Name of the first column of a kind. Raises TaskError."""
    for column in schema.columns:
        if column.kind == kind:
            return column.name
    raise TaskError("TASK", f"the data set has no column of {what}")


def class_labels(batch: pa.RecordBatch, schema: DataSchema, first_row: int) -> NDArray[np.int64]:
    """(rows,) indices into the schema's classes. Raises TaskError naming the row."""
    classes = pa.array([label.name for label in schema.classes], pa.string())
    labels = pc.index_in(batch.column(schema.label), value_set=classes)
    if labels.null_count:
        row = first_row + pc.index(pc.is_null(labels), value=True).as_py()
        raise TaskError("TASK", f"row {row} of the shard has a label that the data set's schema does not know")
    return labels.to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def identity_of(version: str, schema: DataSchema, *settings: Any) -> str:
    """A digest of all that examples depend on beside their file; `version` is their code's."""
    digest = hashlib.sha256(version.encode())
    for part in (schema.SerializeToString(deterministic=True), *settings):
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
