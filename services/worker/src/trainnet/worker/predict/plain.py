"""`mlp` and `cnn`: their config.json says all that their loading needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from trainnet.v1.dataset_pb2 import COLUMN_KIND_CATEGORICAL, COLUMN_KIND_NUMERIC, Column, DataSchema
from trainnet.worker.errors import TaskError
from trainnet.worker.predict.inputs import PredictError, read_batches, read_items
from trainnet.worker.predict.results import Prediction, classified, in_batches
from trainnet.worker.trainer.data.columns import as_category, as_numbers
from trainnet.worker.trainer.inputs.images import decode_image
from trainnet.worker.trainer.inputs.tables import TableEncoding
from trainnet.worker.trainer.models.folder import WEIGHTS
from trainnet.worker.trainer.models.plain import Cnn, Mlp
from trainnet.worker.trainer.weights import read_weights


class TablePredictor:
    """`mlp`: rows of numbers and categories."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._classes: list[str] = config["classes"]
        self._columns = [_column(entry) for entry in config["columns"]]
        # The same code as in training, so that the same row becomes the same numbers.
        self._encoding = TableEncoding(DataSchema(columns=self._columns))
        module = Mlp(config["features"], config["hidden"], len(self._classes), dropout=0.0)
        self._module = _loaded(module, folder)

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """One for each row."""
        if column:
            raise PredictError("--column is for models of images, texts or sounds; this one takes whole rows")
        number = 1
        for batch in read_batches(given, ""):
            names = [f"row {number + index}" for index in range(batch.num_rows)]
            features = torch.from_numpy(self._encoding.features(self._known(batch, number)))
            yield from classified(names, self._module(features), self._classes)
            number += batch.num_rows

    def _known(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        arrays: dict[str, Any] = {}
        for column in self._columns:
            if column.name not in batch.schema.names:
                raise PredictError(f"the table has no column {column.name!r}, which the model was trained on")
            values = batch.column(column.name)
            read = as_numbers(values) if column.kind == COLUMN_KIND_NUMERIC else as_category(values)
            if read is None:
                last = first_row + batch.num_rows - 1
                raise PredictError(f"column {column.name!r} holds what is no number, in rows {first_row} to {last}")
            arrays[column.name] = read
        return pa.RecordBatch.from_pydict(arrays)


class ImagePredictor:
    """`cnn`: images, resized to those that it was trained on."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._classes: list[str] = config["classes"]
        self._shape = (config["height"], config["width"], config["channels"])
        weights = read_weights(folder / WEIGHTS)
        height, width, channels = self._shape
        filters, hidden = len(weights["first.bias"]), len(weights["hidden.bias"])
        self._module = _loaded(Cnn(channels, height, width, filters, hidden, len(self._classes)), folder)

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """One for each image."""
        for items in in_batches(read_items(given, "image", column)):
            pixels = np.stack([self._pixels(name, data) for name, data in items])
            batch = torch.from_numpy(pixels).float() / 255
            yield from classified([name for name, _ in items], self._module(batch), self._classes)

    def _pixels(self, name: str, data: bytes) -> NDArray[np.uint8]:
        try:
            return decode_image(data, *self._shape, 1)
        except TaskError as error:
            raise PredictError(f"{name} cannot be decoded as PNG or JPEG") from error


def _column(entry: Mapping[str, Any]) -> Column:
    if entry["kind"] == "numeric":
        return Column(name=entry["name"], kind=COLUMN_KIND_NUMERIC, mean=entry["mean"], deviation=entry["deviation"])
    return Column(name=entry["name"], kind=COLUMN_KIND_CATEGORICAL, categories=entry["categories"])


def _loaded(module: nn.Module, folder: Path) -> nn.Module:
    try:
        module.load_state_dict(read_weights(folder / WEIGHTS))
    except RuntimeError as error:
        raise PredictError(f"{folder / WEIGHTS} and config.json do not belong together: {error}") from error
    return module.eval()
