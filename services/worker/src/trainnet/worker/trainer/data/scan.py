"""What one pass over a column finds out, in constant memory."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    Column,
    ColumnKind,
    ColumnProfile,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import as_category, as_numbers, is_number, is_text

MAX_CATEGORIES = 100
MAX_CATEGORY_LENGTH = 64
MAX_DISTINCT = 1000
TEXT_NAMES = {"text", "sentence", "review", "content", "document", "body", "message", "comment", "tweet"}

_LONG_TEXT = 20  # characters on average from which on a column is read, not counted
_INDEX_NAMES = {"id", "index", "unnamed: 0", "column_1", "__index_level_0__", "row", "rownames"}
_NUMBER = r"^([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan))$"
Numbers = NDArray[np.float64]


class ColumnScan:
    """Numbers by a stable running mean and deviation (Chan et al. 1979), different values while they are few."""

    def __init__(self, name: str, kind: pa.DataType) -> None:
        self.name = name
        self._type = kind
        self._text = is_text(kind) or pa.types.is_boolean(kind)
        self._usable = self._text or is_number(kind)
        self._rows = self._missing = self._no_number = 0
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._low, self._high = math.inf, -math.inf
        self._rising, self._last = True, -math.inf
        self._distinct: set[object] = set()
        self._long_value = False
        self._characters = self._most_characters = 0
        self._words = 0  # values that are no number, counted while most of them are numbers
        self._first_word: tuple[int, str] | None = None

    def add(self, values: pa.Array) -> None:
        """Takes the next values."""
        if not self._usable:
            self._missing += values.null_count
        elif self._text:
            self._add_text(as_category(values))
        else:
            numbers = as_numbers(values)
            if numbers is None:  # decimals beyond what a float holds
                self._usable = False
                return
            self._missing += values.null_count
            self._add_numbers(numbers)
        self._rows += len(values)

    def _add_text(self, text: pa.Array) -> None:
        self._missing += text.null_count
        lengths = pc.utf8_length(text)
        self._characters += pc.sum(lengths).as_py() or 0
        self._most_characters = max(self._most_characters, pc.max(lengths).as_py() or 0)
        self._add_distinct(text)
        if self._words > max(MAX_DISTINCT, self._count):
            return  # words, whatever comes
        numbers = as_numbers(text)
        if numbers is None:
            is_word = pc.fill_null(pc.invert(pc.match_substring_regex(text, _NUMBER, ignore_case=True)), False)
            words = np.flatnonzero(is_word.to_numpy(zero_copy_only=False))
            numbers = as_numbers(pc.if_else(is_word, None, text))
            if numbers is None:
                words, numbers = np.arange(len(text)), pa.nulls(len(text), pa.float64())
            if self._first_word is None and len(words):
                self._first_word = self._rows + int(words[0]) + 1, text[int(words[0])].as_py() or ""
            self._words += len(words)
        self._add_numbers(numbers, distinct=False)

    def _add_distinct(self, values: pa.Array) -> None:
        if len(self._distinct) >= MAX_DISTINCT:
            return
        for value in pc.unique(values).to_pylist():
            if isinstance(value, str) and len(value) > MAX_CATEGORY_LENGTH:
                self._long_value = True
                value = hashlib.blake2b(value.encode(), digest_size=16).digest()  # noqa: PLW2901  # its stand-in
            if value is not None:
                self._distinct.add(value)
            if len(self._distinct) >= MAX_DISTINCT:
                return

    def _add_numbers(self, column: pa.Array, *, distinct: bool = True) -> None:
        self._no_number += column.null_count
        if distinct:
            self._add_distinct(column)
        values = column.drop_null().to_numpy(zero_copy_only=False)
        if not len(values):
            return
        count, mean = len(values), float(values.mean())
        squares = float(np.square(values - mean).sum())
        total = self._count + count
        difference = mean - self._mean
        self._mean += difference * count / total
        self._squares += squares + difference * difference * self._count * count / total
        self._count = total
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        self._rising = self._rising and values[0] > self._last and bool((np.diff(values) > 0).all())
        self._last = float(values[-1])

    @property
    def free_text(self) -> bool:
        """Whether its values are read rather than counted."""
        if not self._text or (self._count and not self._words):
            return False
        filled = self._rows - self._missing
        if self.name.lower() in TEXT_NAMES:
            return filled > 0
        if not filled or self._characters / filled <= _LONG_TEXT:
            return False
        return len(self._distinct) > MAX_CATEGORIES or (filled >= 10 and len(self._distinct) * 2 > filled)

    def result(self, asked: ColumnKind = COLUMN_KIND_IGNORED, *, override: bool = False) -> tuple[Column, str | None]:
        """The column and a remark for its owner. With `override` it is of the kind that was asked for. Raises TaskError
        where it cannot be."""
        column = Column(name=self.name, kind=COLUMN_KIND_IGNORED, missing=self._missing)
        if override:
            return self._as_asked(column, asked), None
        if not self._usable:
            return column, f"column {self.name!r} ({self._type}) is left out: models take numbers and categories"
        if not self._text or (self._count and not self._words):
            return self._numeric_result(column)
        kind, remark = self._text_result(column)
        if self._first_word and self._words * 20 <= self._count:
            row, value = self._first_word
            remark = (
                f"column {self.name!r} holds numbers but for {self._words} of its values, the first {value[:40]!r} in "
                f"row {row}, so it is {'a category' if kind.kind == COLUMN_KIND_CATEGORICAL else 'left out'}; mend them"
            )
        return kind, remark

    def _text_result(self, column: Column) -> tuple[Column, str | None]:
        if len(self._distinct) <= 1 and not self._no_text():
            return column, f"column {self.name!r} is left out: it has one value only"
        if self._no_text():
            return column, f"column {self.name!r} is left out: it has no values only"
        if self.free_text:
            column.kind = COLUMN_KIND_TEXT
            return column, f"column {self.name!r} has no text in {self._missing} rows" if self._missing else None
        if not self._too_many():
            return self._as_category(column), None
        return (
            column,
            f"column {self.name!r} is left out: more than {MAX_CATEGORIES} different values, like an identifier",
        )

    def _numeric_result(self, column: Column) -> tuple[Column, str | None]:
        column.missing = self._no_number
        if self._count == 0:
            return column, f"column {self.name!r} is left out: it has no values only"
        if self._low == self._high:
            return column, f"column {self.name!r} is left out: it has one value only"
        if self.name.lower() in _INDEX_NAMES and self._rising and self._count == self._rows:
            return column, f"column {self.name!r} is left out: it numbers the rows"
        if not self._scalable():
            return column, f"column {self.name!r} is left out: its values are too large to be scaled"
        return self._as_numbers(column), None

    def _as_asked(self, column: Column, asked: ColumnKind) -> Column:
        why = None
        if asked == COLUMN_KIND_NUMERIC:
            if self._first_word:
                why = f"row {self._first_word[0]} holds {self._first_word[1][:40]!r}"
            elif not self._count or not self._usable:
                why = f"it holds no numbers but {self._type}" if not self._usable else "it has no values"
            elif not self._scalable():
                why = "its values are all the same, or too large to be scaled"
            if why is None:
                return self._as_numbers(column)
        elif asked == COLUMN_KIND_CATEGORICAL:
            if not self._usable:
                why = f"it holds {self._type}"
            elif self._too_many():
                why = f"it has more than {MAX_CATEGORIES} different values, or longer ones than {MAX_CATEGORY_LENGTH}"
            elif not self._distinct:
                why = "it has no values"
            else:
                return self._as_category(column)
        elif asked == COLUMN_KIND_TEXT:
            if is_text(self._type):
                column.kind = COLUMN_KIND_TEXT
                return column
            why = f"it holds {self._type}"
        elif asked == COLUMN_KIND_IGNORED:
            return column
        else:
            why = f"it holds {self._type}, not the bytes of files"
        name = ColumnKind.Name(asked).removeprefix("COLUMN_KIND_").lower()
        raise TaskError("TASK", f"column {self.name!r} cannot be {name}: {why}; mend the column or choose another kind")

    def _as_numbers(self, column: Column) -> Column:
        column.kind, column.missing = COLUMN_KIND_NUMERIC, self._no_number
        column.mean, column.deviation = self._mean, math.sqrt(self._squares / self._count)
        return column

    def _as_category(self, column: Column) -> Column:
        column.kind = COLUMN_KIND_CATEGORICAL
        if self._text:
            names = sorted(str(value) for value in self._distinct)
        else:
            names = as_category(pa.array(sorted(self._distinct), pa.float64())).to_pylist()  # type: ignore[type-var]
        column.categories.extend(names)
        return column

    def _scalable(self) -> bool:
        deviation = math.sqrt(self._squares / self._count)
        return math.isfinite(self._mean) and math.isfinite(deviation) and deviation > 0

    def _too_many(self) -> bool:
        return len(self._distinct) > MAX_CATEGORIES or self._long_value

    def _no_text(self) -> bool:
        return self._missing == self._rows

    def profile(self) -> ColumnProfile:
        """What its owner looks at."""
        profile = ColumnProfile(name=self.name, distinct=len(self._distinct))
        if self._count and not self._words:
            profile.minimum, profile.maximum = self._low, self._high
        if self._text and (self._words or not self._count):
            profile.mean_length = self._characters / max(self._rows - self._missing, 1)
            profile.max_length = self._most_characters
        return profile
