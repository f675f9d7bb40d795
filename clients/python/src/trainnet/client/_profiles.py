"""What was understood of a data set: the schema that training needs, and the profile that its owner looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from trainnet.client._errors import FieldViolation, InvalidArgument
from trainnet.client._models import short
from trainnet.client._nearest import nearest
from trainnet.v1 import dataset_pb2

LABEL = "label"

KINDS: dict[str, dataset_pb2.ColumnKind] = {
    "text": dataset_pb2.COLUMN_KIND_TEXT,
    "categorical": dataset_pb2.COLUMN_KIND_CATEGORICAL,
    "numeric": dataset_pb2.COLUMN_KIND_NUMERIC,
    "image": dataset_pb2.COLUMN_KIND_IMAGE,
    "audio": dataset_pb2.COLUMN_KIND_AUDIO,
    "ignored": dataset_pb2.COLUMN_KIND_IGNORED,
}

AUTO = "auto"
"""In place of a kind: as inspection understands it."""

_MEASURED = ("text", "image", "audio", LABEL)


@dataclass(frozen=True)
class Column:
    """A column as training takes it; `kind` is numeric, categorical, image, text, audio or ignored."""

    name: str
    kind: str
    missing: int


@dataclass(frozen=True)
class Schema:
    """What training needs to know of a data set. `classes` maps a label's value to its rows."""

    columns: tuple[Column, ...]
    label: str
    classes: Mapping[str, int]
    rows: int
    image: tuple[int, int, int] | None
    warnings: tuple[str, ...]
    split_column: str = ""
    split_holdout_rows: int = 0
    label_is_text: bool = False

    @classmethod
    def of(cls, message: dataset_pb2.DataSchema) -> Self:
        """From the contract's message; `image` is (height, width, channels)."""
        shape = message.image
        return cls(
            columns=tuple(Column(item.name, kind_of(item), item.missing) for item in message.columns),
            label=message.label,
            classes={item.name: item.rows for item in message.classes},
            rows=message.rows,
            image=(shape.height, shape.width, shape.channels) if message.HasField("image") else None,
            warnings=tuple(message.warnings),
            split_column=message.split_column,
            split_holdout_rows=message.split_holdout_rows,
            label_is_text=message.label_is_text,
        )


@dataclass(frozen=True)
class ColumnProfile:
    """What a column's values look like. `kind` is the column's, or `label`.

    `distinct` is counted up to 1000, and 0 where it was not. `minimum`, `maximum`, `mean` and `deviation` are for
    numbers, `mean_length` and `max_length` for text (characters), images (bytes) and sound (seconds); None elsewhere.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    mean_length: float | None
    max_length: float | None


@dataclass(frozen=True)
class Profile:
    """What a data set looks like, for its owner. Every sample maps a column's name to the value as text."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    label: str
    classes: Mapping[str, int]
    samples: tuple[Mapping[str, str], ...]
    duplicate_rows: int
    compared_rows: int
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, message: dataset_pb2.Dataset) -> Self:
        """From a data set's schema and profile."""
        schema, profile = message.schema, message.profile
        known = {item.name: item for item in schema.columns}
        names = [item.name for item in profile.columns]
        return cls(
            rows=schema.rows,
            columns=tuple(_column(item, known.get(item.name), schema.label) for item in profile.columns),
            label=schema.label,
            classes={item.name: item.rows for item in schema.classes},
            samples=tuple(dict(zip(names, sample.values, strict=False)) for sample in profile.samples),
            duplicate_rows=profile.duplicate_rows,
            compared_rows=profile.compared_rows,
            warnings=tuple(schema.warnings),
        )


def _column(seen: dataset_pb2.ColumnProfile, found: dataset_pb2.Column | None, label: str) -> ColumnProfile:
    kind = LABEL if seen.name == label else kind_of(found) if found is not None else "ignored"
    numeric = kind == "numeric"
    measured = kind in _MEASURED and seen.max_length > 0
    return ColumnProfile(
        name=seen.name,
        kind=kind,
        missing=found.missing if found is not None else 0,
        distinct=seen.distinct,
        minimum=seen.minimum if numeric else None,
        maximum=seen.maximum if numeric else None,
        mean=found.mean if numeric and found is not None else None,
        deviation=found.deviation if numeric and found is not None else None,
        mean_length=seen.mean_length if measured else None,
        max_length=seen.max_length if measured else None,
    )


def kind_of(column: dataset_pb2.Column) -> str:
    """Its kind in one word."""
    return short(dataset_pb2.ColumnKind, column.kind, "COLUMN_KIND_").lower()


def reading(
    label: str | None,
    kinds: Mapping[str, str] | None,
    split_column: str | None,
    before: dataset_pb2.DatasetReading | None = None,
) -> dataset_pb2.DatasetReading:
    """How the data are to be read: what is given over what was before. Raises InvalidArgument that names the column."""
    wanted = dataset_pb2.DatasetReading()
    if before is not None:
        wanted.CopyFrom(before)
    if label is not None:
        wanted.label_column = label
    if split_column is not None:
        wanted.split_column = split_column
    for column, kind in (kinds or {}).items():
        if kind == AUTO:
            wanted.column_kinds.pop(column, None)
            continue
        if kind not in KINDS:
            message = f"{kind!r} is no kind of column"
            raise InvalidArgument(
                f"column {column}: {message}",
                violations=(FieldViolation(f"reading.column_kinds.{column}", message),),
                hint=nearest(kind, [*KINDS, AUTO], "the kinds are"),
            )
        wanted.column_kinds[column] = KINDS[kind]
    return wanted
