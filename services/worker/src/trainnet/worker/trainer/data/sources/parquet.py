"""Apache Parquet, with images and sound as bytes or as Hugging Face's structs of bytes and path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import is_text
from trainnet.worker.trainer.data.sources.source import MAX_CELL, Wanted, check_names, first_line, select
from trainnet.worker.trainer.data.sources.text import what_it_is

_BATCH_ROWS = 131_072
_BATCH_BYTES = 16 << 20


class ParquetSource:
    """A Parquet file, read row group by row group."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(8)
        if not head.startswith(b"PAR1"):
            what = what_it_is(head) or "something else"
            raise TaskError(
                "TASK", f"the file is not Parquet but {what}; upload a Parquet file, or name the right format"
            )
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                self._rows_at_once = _rows_at_once(file.metadata)
        except (pa.ArrowException, OSError) as error:
            raise TaskError("TASK", f"the Parquet file is damaged: {first_line(error)}") from error
        check_names(schema.names)
        if not schema.names:
            raise TaskError("TASK", "the Parquet file has no columns")
        self.columns: dict[str, pa.DataType] = {field.name: field.type for field in schema}

    def batches(self, wanted: Wanted | None = None) -> Iterator[pa.RecordBatch]:
        """See Source."""
        names = select(self.columns, wanted)
        coded = [name for name in names if wanted and name in wanted.coded and is_text(self.columns[name])]
        try:
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20, read_dictionary=coded) as file:
                for batch in file.iter_batches(self._rows_at_once, columns=list(names), use_threads=False):
                    yield batch.select(list(names))
        except (pa.ArrowException, OSError) as error:
            raise TaskError("TASK", f"the Parquet file is damaged: {first_line(error)}") from error


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    """Rows of a batch, so that it takes a few MiB however large the values are. Raises TaskError for larger ones."""
    most = 1.0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        most = max(most, group.total_byte_size / max(group.num_rows, 1))
    if most > MAX_CELL:
        raise TaskError(
            "TASK",
            f"the rows of the Parquet file are larger than {MAX_CELL >> 20} MiB each; cut them into smaller ones",
        )
    return int(min(_BATCH_ROWS, max(1, _BATCH_BYTES / most)))
