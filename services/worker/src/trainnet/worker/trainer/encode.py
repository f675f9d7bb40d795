"""Rows of a shard to tensors, as the schema says.

Numbers are standardised with the schema's mean and deviation (a missing one becomes the mean, so 0), categories become
one-hot (a missing or unknown one all zeros), images keep 8 bits per channel until a batch is used.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trainnet.v1.dataset_pb2 import COLUMN_KIND_CATEGORICAL, COLUMN_KIND_IMAGE, COLUMN_KIND_NUMERIC, DataSchema
from trainnet.worker.errors import TaskError

TABLE_ROWS = 16_384
IMAGE_ROWS = 512


@dataclass(frozen=True)
class Rows:
    """Encoded rows: x is (rows, features) float32, or (rows, channels, height, width) uint8; y is (rows,) int64."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)

    @property
    def nbytes(self) -> int:
        """Memory that the rows take."""
        return self.x.nbytes + self.y.nbytes


def feature_count(schema: DataSchema) -> int:
    """Width of an encoded row of a table."""
    count = 0
    for column in schema.columns:
        if column.kind == COLUMN_KIND_NUMERIC:
            count += 1
        elif column.kind == COLUMN_KIND_CATEGORICAL:
            count += len(column.categories)
    return count


def as_input(x: torch.Tensor) -> torch.Tensor:
    """What a model takes: images from 0 to 1, everything else as it is."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def read_rows(path: Path, schema: DataSchema) -> Rows:
    """A whole shard. Raises TaskError."""
    parts = list(stream_rows(path, schema))
    if not parts:
        raise TaskError("TASK", "the shard has no rows")
    return Rows(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def stream_rows(path: Path, schema: DataSchema) -> Iterator[Rows]:
    """A shard in blocks, in constant memory. Raises TaskError."""
    block = IMAGE_ROWS if schema.HasField("image") else TABLE_ROWS
    first_row = 1
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=block, use_threads=False):
                if batch.num_rows:
                    yield encode(batch, schema, first_row)
                    first_row += batch.num_rows
    except (pa.ArrowException, KeyError) as error:
        raise TaskError("TASK", f"the shard cannot be read: {error}") from error


def encode(batch: pa.RecordBatch, schema: DataSchema, first_row: int = 1) -> Rows:
    """Encodes a batch of a prepared shard."""
    classes = pa.array([label.name for label in schema.classes], pa.string())
    labels = pc.index_in(batch.column(schema.label), value_set=classes)
    if labels.null_count:
        row = first_row + pc.index(pc.is_null(labels), value=True).as_py()
        raise TaskError("TASK", f"row {row} of the shard has a label that the data set's schema does not know")
    y = torch.from_numpy(labels.to_numpy(zero_copy_only=False).astype(np.int64))
    if schema.HasField("image"):
        column = next(column.name for column in schema.columns if column.kind == COLUMN_KIND_IMAGE)
        return Rows(_images(batch.column(column).to_pylist(), schema, first_row), y)
    return Rows(_table(batch, schema), y)


def _table(batch: pa.RecordBatch, schema: DataSchema) -> torch.Tensor:
    x = np.zeros((batch.num_rows, feature_count(schema)), dtype=np.float32)
    position = 0
    for column in schema.columns:
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
    return torch.from_numpy(x)


def _images(values: Iterable[bytes | None], schema: DataSchema, first_row: int) -> torch.Tensor:
    shape = schema.image
    decoded = [
        decode_image(value, shape.height, shape.width, shape.channels, first_row + offset)
        for offset, value in enumerate(values)
    ]
    return torch.from_numpy(np.stack(decoded))


def decode_image(data: bytes | None, height: int, width: int, channels: int, row: int) -> NDArray[np.uint8]:
    """(channels, height, width), resized when it has another size. Raises TaskError naming the row."""
    try:
        with Image.open(io.BytesIO(data or b""), formats=("PNG", "JPEG")) as image:
            image.draft(None, (width, height))
            picture: Image.Image = image.convert("L" if channels == 1 else "RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(picture, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TaskError("TASK", f"the image in row {row} cannot be decoded ({error}): mend or remove it") from error
    return pixels[np.newaxis] if channels == 1 else np.moveaxis(pixels, 2, 0)
