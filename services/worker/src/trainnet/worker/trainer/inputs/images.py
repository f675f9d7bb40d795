"""Images: 8 bits per channel until a batch is used."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trainnet.v1.dataset_pb2 import COLUMN_KIND_IMAGE, DataSchema
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.encoding import Arrays, Batch, Field
from trainnet.worker.trainer.inputs.rows import blocks, class_labels, column_of, identity_of

_BLOCK_BYTES = 16 << 20


class ImageEncoding:
    """A batch: `pixel_values` (rows, channels, height, width) float32 and `label` (rows,) int64.

    Pixels are from 0 to 1, then `mean` is taken off and the rest divided by `deviation`, channel by channel, where
    they are given. Images of another size are resized, those with other channels converted.
    """

    def __init__(
        self,
        schema: DataSchema,
        height: int,
        width: int,
        channels: int,
        *,
        mean: Sequence[float] = (),
        deviation: Sequence[float] = (),
    ) -> None:
        self._schema, self._shape = schema, (channels, height, width)
        self._column = column_of(schema, COLUMN_KIND_IMAGE, "images")
        self._mean = torch.tensor(list(mean)).view(-1, 1, 1) if mean else None
        self._deviation = torch.tensor(list(deviation)).view(-1, 1, 1) if deviation else None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of an example."""
        return Field("pixels", "|u1", self._shape), Field("label", "<i8", ())

    @property
    def identity(self) -> str:
        """All that the examples depend on beside the file."""
        return identity_of("image-1", self._schema, self._shape)

    def examples(self, path: Path) -> Iterator[Arrays]:
        """The images in order. Raises TaskError naming the row."""
        channels, height, width = self._shape
        rows = max(1, min(512, _BLOCK_BYTES // (channels * height * width)))
        for first_row, batch in blocks(path, rows):
            yield {
                "pixels": self.pixels(batch, first_row),
                "label": class_labels(batch, self._schema, first_row),
            }

    def pixels(self, batch: pa.RecordBatch, first_row: int = 1) -> NDArray[np.uint8]:
        """Rows without their labels: (rows, channels, height, width). Raises TaskError naming the row."""
        channels, height, width = self._shape
        values = batch.column(self._column)
        pixels = np.empty((len(values), *self._shape), dtype=np.uint8)
        for index, value in enumerate(values):
            pixels[index] = decode_image(value.as_py(), height, width, channels, first_row + index)
        return pixels

    def batch(self, examples: Batch) -> Batch:
        """Bytes to numbers."""
        pixels = examples["pixels"].float().div_(255)
        if self._mean is not None:
            pixels.sub_(self._mean.to(pixels.device))
        if self._deviation is not None:
            pixels.div_(self._deviation.to(pixels.device))
        batch = {"pixel_values": pixels}
        if "label" in examples:
            batch["label"] = examples["label"]
        return batch


def decode_image(data: bytes | None, height: int, width: int, channels: int, row: int) -> NDArray[np.uint8]:
    """(channels, height, width), resized when it has another size. Raises TaskError naming the row."""
    try:
        with Image.open(io.BytesIO(data or b""), formats=("PNG", "JPEG")) as image:
            image.draft(None, (width, height))
            mode = "L" if channels == 1 else "RGB"
            picture: Image.Image = image if image.mode == mode else image.convert(mode)
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(picture, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TaskError("TASK", f"the image in row {row} cannot be decoded ({error}): mend or remove it") from error
    return pixels[np.newaxis] if channels == 1 else np.moveaxis(pixels, 2, 0)
