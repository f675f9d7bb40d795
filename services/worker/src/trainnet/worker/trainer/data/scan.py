"""What one pass over a column finds out, in constant memory."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    Column,
    ImageShape,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import as_category, as_image_bytes, as_numbers, is_number, is_text

MAX_CATEGORIES = 100
MAX_CATEGORY_LENGTH = 64
MAX_IMAGE_SIDE = 128
_SHAPE_SAMPLE = 256
_DECODE_PIXELS = 500_000_000
_INDEX_NAMES = {"id", "index", "unnamed: 0", "column_1", "__index_level_0__", "row", "rownames"}


class ColumnScan:
    """Numbers by a stable running mean and deviation (Chan et al. 1979), categories while they are few."""

    def __init__(self, name: str, kind: pa.DataType) -> None:
        self.name = name
        self._usable = is_text(kind) or is_number(kind) or pa.types.is_boolean(kind)
        self._numeric = self._usable and not pa.types.is_boolean(kind)
        self._type = kind
        self._rows = 0
        self._missing = 0
        self._no_number = 0
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._low, self._high = math.inf, -math.inf
        self._rising, self._last = True, -math.inf
        self._categories: set[str] | None = set()
        self._characters = 0

    def add(self, values: pa.Array) -> None:
        """Takes the next values."""
        self._rows += len(values)
        if not self._usable:
            self._missing += values.null_count
            return
        if self._numeric:
            numbers = as_numbers(values)
            if numbers is None:
                self._numeric = False
            else:
                self._add_numbers(numbers.drop_null().to_numpy(zero_copy_only=False))
                self._no_number += numbers.null_count
        text = as_category(values) if not is_number(self._type) else None
        if text is None:
            return
        self._missing += text.null_count
        self._characters += pc.sum(pc.utf8_length(text)).as_py() or 0
        if self._categories is not None:
            self._categories.update(value for value in pc.unique(text).to_pylist() if value is not None)
            if len(self._categories) > MAX_CATEGORIES:
                self._categories = None

    def _add_numbers(self, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
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

    def result(self) -> tuple[Column, str | None]:
        """The column and a remark for its owner."""
        column = Column(name=self.name, kind=COLUMN_KIND_IGNORED, missing=self._missing)
        if not self._usable:
            return column, f"column {self.name!r} ({self._type}) is left out: models take numbers and categories"
        if self._numeric:
            return self._numeric_result(column)
        categories = self._categories
        if categories is not None and len(categories) <= 1:
            return column, f"column {self.name!r} is left out: it has {'one value' if categories else 'no values'} only"
        if categories is not None and max(map(len, categories)) <= MAX_CATEGORY_LENGTH:
            column.kind = COLUMN_KIND_CATEGORICAL
            column.categories.extend(sorted(categories))
            return column, None
        filled = max(self._rows - self._missing, 1)
        if self._characters / filled > 20:
            column.kind = COLUMN_KIND_TEXT
            return column, f"column {self.name!r} is left out: no architecture takes free text yet"
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
        deviation = math.sqrt(self._squares / self._count)
        if not math.isfinite(self._mean) or not math.isfinite(deviation) or deviation == 0:
            return column, f"column {self.name!r} is left out: its values are too large to be scaled"
        column.kind, column.mean, column.deviation = COLUMN_KIND_NUMERIC, self._mean, deviation
        return column, None


@dataclass
class ImageScan:
    """Checks that every image can be read, and finds the shape that most of the first ones have."""

    name: str
    _row: int = 0
    _sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    _grey: bool = True
    _pixels: int = 0
    _mixed: bool = False

    def add(self, values: pa.Array) -> None:
        """Takes the next images. Raises TaskError naming the row of one that cannot be read."""
        for value in as_image_bytes(values):
            self._row += 1
            data = value.as_py()
            if not data:
                raise TaskError("TASK", f"row {self._row} has no image in column {self.name!r}; fill or remove it")
            self._look(data)

    def _look(self, data: bytes) -> None:
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                size = image.size
                if self._row <= _SHAPE_SAMPLE:
                    self._sizes[size] += 1
                    self._grey = self._grey and image.mode in {"1", "L", "I;16", "I"}
                elif size not in self._sizes:
                    self._mixed = True
                # A header alone says little: decode too, until that would take minutes.
                if self._pixels < _DECODE_PIXELS:
                    self._pixels += size[0] * size[1]
                    image.load()
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = "no PNG or JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
            raise TaskError(
                "TASK",
                f"the image in row {self._row} of column {self.name!r} cannot be decoded ({reason}); mend or remove it",
            ) from error

    def result(self) -> tuple[Column, ImageShape, list[str]]:
        """The column, the shape and remarks. Images larger than MAX_IMAGE_SIDE are to be scaled down."""
        # Of equally common sizes the larger, so that the answer does not depend on their order.
        (width, height), _ = max(self._sizes.items(), key=lambda item: (item[1], item[0]))
        remarks = []
        if len(self._sizes) > 1 or self._mixed:
            remarks.append(f"images differ in size: all are resized to {width} x {height} pixels")
        if max(width, height) > MAX_IMAGE_SIDE:
            scale = MAX_IMAGE_SIDE / max(width, height)
            smaller = max(4, round(width * scale)), max(4, round(height * scale))
            remarks.append(
                f"images of {width} x {height} pixels are scaled down to {smaller[0]} x {smaller[1]} for training"
            )
            width, height = smaller
        column = Column(name=self.name, kind=COLUMN_KIND_IMAGE)
        return column, ImageShape(height=height, width=width, channels=1 if self._grey else 3), remarks
