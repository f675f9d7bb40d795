"""What a row of the owner's file becomes in a shard: the columns that models use, and the label, nothing else."""

from __future__ import annotations

import pyarrow as pa

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_AUDIO,
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    Column,
    DataSchema,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import (
    as_bytes,
    as_category,
    as_codes,
    as_free_text,
    as_numbers,
    as_text,
    held_out,
)
from trainnet.worker.trainer.data.plans import Codes, Mask
from trainnet.worker.trainer.data.sources.source import Wanted

# Text of few values is written by its codes; readers get text all the same.
_CODES = pa.dictionary(pa.int32(), pa.string())
_TYPES = {
    COLUMN_KIND_NUMERIC: pa.float64(),
    COLUMN_KIND_CATEGORICAL: _CODES,
    COLUMN_KIND_IMAGE: pa.large_binary(),
    COLUMN_KIND_AUDIO: pa.large_binary(),
    COLUMN_KIND_TEXT: pa.string(),
}


class ShardRows:
    """Reads batches as the schema says."""

    def __init__(self, schema: DataSchema) -> None:
        self._schema = schema
        self._columns: list[Column] = [column for column in schema.columns if column.kind in _TYPES]
        self._categories = {column.name: pa.array(list(column.categories), pa.string()) for column in self._columns}
        self._classes = pa.array([label.name for label in schema.classes], pa.string())
        fields = [pa.field(column.name, _TYPES[column.kind]) for column in self._columns]
        if schema.label:
            fields.append(pa.field(schema.label, pa.string() if schema.label_is_text else _CODES))
        self.layout = pa.schema(fields)
        self._split = schema.split_column
        self.wanted = self._wanted([*self.layout.names, *([self._split] if self._split else [])])
        self.wanted_for_counting = self._wanted([name for name in (schema.label, self._split) if name])

    def _wanted(self, names: list[str]) -> Wanted:
        numbers = {column.name for column in self._columns if column.kind == COLUMN_KIND_NUMERIC}
        coded = {name for name in names if name == self._split or self.layout.field(name).type == _CODES}
        return Wanted(tuple(dict.fromkeys(names)), frozenset(coded), frozenset(numbers & set(names)))

    @property
    def texts(self) -> list[str]:
        """Columns of text, the label too where it is text."""
        names = [column.name for column in self._columns if column.kind == COLUMN_KIND_TEXT]
        return [*names, *([self._schema.label] if self._schema.label_is_text else [])]

    def codes(self, batch: pa.RecordBatch) -> Codes | None:
        """The class of each row, where labels are classes. Raises TaskError for one that inspection did not see."""
        if not self._schema.classes:
            return None
        codes = as_codes(batch.column(self._schema.label), self._classes, as_text)
        if codes.null_count:
            raise TaskError(
                "TASK", f"the label {self._schema.label!r} has values that were not inspected; upload it again"
            )
        found: Codes = codes.to_numpy()
        return found

    def held(self, batch: pa.RecordBatch) -> Mask | None:
        """The rows that a split column holds out, where there is one."""
        return held_out(batch.column(self._split))[0] if self._split else None

    def encode(self, batch: pa.RecordBatch, codes: Codes | None) -> pa.RecordBatch:
        """Rows as they stand in a shard. `codes` are their classes."""
        arrays = [self._encode(batch.column(column.name), column) for column in self._columns]
        if self._schema.label_is_text:
            arrays.append(as_free_text(batch.column(self._schema.label)))
        elif codes is not None:
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(codes), self._classes))
        return pa.RecordBatch.from_arrays(arrays, schema=self.layout)

    def _encode(self, values: pa.Array, column: Column) -> pa.Array:
        if column.kind == COLUMN_KIND_NUMERIC:
            numbers = as_numbers(values)
            if numbers is None:
                raise TaskError("TASK", f"column {column.name!r} holds something else than numbers; upload it again")
            return numbers
        if column.kind == COLUMN_KIND_CATEGORICAL:
            codes = as_codes(values, self._categories[column.name], as_category)
            return pa.DictionaryArray.from_arrays(codes, self._categories[column.name])
        return as_free_text(values) if column.kind == COLUMN_KIND_TEXT else as_bytes(values)
