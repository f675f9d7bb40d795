"""Tables: numbers and categories.

Numbers are standardised with the schema's mean and deviation (a missing one becomes the mean, so 0), categories become
one-hot (a missing or unknown one all zeros).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import COLUMN_KIND_CATEGORICAL, COLUMN_KIND_NUMERIC, DataSchema
from trainnet.worker.trainer.inputs.encoding import Arrays, Batch, Field
from trainnet.worker.trainer.inputs.rows import blocks, class_labels, identity_of

_BLOCK_ROWS = 16_384


def feature_count(schema: DataSchema) -> int:
    """Width of an encoded row."""
    count = 0
    for column in schema.columns:
        if column.kind == COLUMN_KIND_NUMERIC:
            count += 1
        elif column.kind == COLUMN_KIND_CATEGORICAL:
            count += len(column.categories)
    return count


class TableEncoding:
    """A batch: `features` (rows, features) float32 and `label` (rows,) int64."""

    def __init__(self, schema: DataSchema) -> None:
        self._schema = schema
        self._width = feature_count(schema)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of an example."""
        return Field("features", "<f4", (self._width,)), Field("label", "<i8", ())

    @property
    def identity(self) -> str:
        """All that the examples depend on beside the file."""
        return identity_of("table-1", self._schema)

    def examples(self, path: Path) -> Iterator[Arrays]:
        """The rows in order. Raises TaskError naming the row."""
        for first_row, batch in blocks(path, _BLOCK_ROWS):
            yield {"features": self.features(batch), "label": class_labels(batch, self._schema, first_row)}

    def features(self, batch: pa.RecordBatch) -> NDArray[np.float32]:
        """Rows without their labels: (rows, features)."""
        x = np.zeros((batch.num_rows, self._width), dtype=np.float32)
        position = 0
        for column in self._schema.columns:
            if column.kind == COLUMN_KIND_NUMERIC:
                values = pc.fill_null(batch.column(column.name), column.mean).to_numpy(zero_copy_only=False)
                x[:, position] = (values - column.mean) / (column.deviation or 1.0)
                position += 1
            elif column.kind == COLUMN_KIND_CATEGORICAL:
                categories = pa.array(list(column.categories), pa.string())
                index = pc.fill_null(pc.index_in(batch.column(column.name), value_set=categories), -1)
                codes = index.to_numpy(zero_copy_only=False)
                known = np.flatnonzero(codes >= 0)
                x[known, position + codes[known]] = 1.0
                position += len(column.categories)
        return x

    def batch(self, examples: Batch) -> Batch:
        """As they are."""
        return examples
