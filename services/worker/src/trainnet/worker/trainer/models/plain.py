"""The architectures: each a function from hyperparameters and schema to a module.

To add one, write its class and its builder and put it into BUILDERS; the coordinator's catalogue names its knobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from trainnet.v1.dataset_pb2 import DataSchema
from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.protocol import ARCHITECTURES
from trainnet.worker.trainer.hyperparameters import integer, integers, number
from trainnet.worker.trainer.inputs.tables import feature_count


class Mlp(nn.Module):
    """Dense layers with ReLU and dropout. Takes (rows, features), gives (rows, classes)."""

    def __init__(self, features: int, hidden: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__()
        widths = [features, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(widths[-1], classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits."""
        x = features
        for layer in self.hidden:
            x = self.dropout(torch.relu(layer(x)))
        return self.output(x)  # type: ignore[no-any-return]


class Cnn(nn.Module):
    """Two 3x3 convolutions with ReLU and 2x2 max-pooling, a dense layer, the classes.

    Takes (rows, channels, height, width) from 0 to 1, gives (rows, classes).
    """

    def __init__(self, channels: int, height: int, width: int, filters: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, filters, kernel_size=3, padding=1)
        self.second = nn.Conv2d(filters, 2 * filters, kernel_size=3, padding=1)
        self.hidden = nn.Linear(2 * filters * (height // 4) * (width // 4), hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits."""
        # The pooled of the rectified is the rectified of the pooled, at a quarter of the work.
        x = torch.relu(nn.functional.max_pool2d(self.first(pixel_values), 2))
        x = torch.relu(nn.functional.max_pool2d(self.second(x), 2))
        x = torch.relu(self.hidden(x.flatten(1)))
        return self.output(x)  # type: ignore[no-any-return]


def _mlp(model: ModelSpec) -> nn.Module:
    if model.schema.HasField("image"):
        raise TaskError("TASK", "mlp takes numbers and categories, the data set has images: choose cnn")
    features = feature_count(model.schema)
    if features == 0:
        raise TaskError("TASK", "the data set has no column of numbers or categories to train on")
    return Mlp(features, integers(model, "hidden"), class_count(model.schema), number(model, "dropout"))


def _cnn(model: ModelSpec) -> nn.Module:
    if not model.schema.HasField("image"):
        raise TaskError("TASK", "cnn takes images, the data set has no column of images: choose mlp")
    shape = model.schema.image
    if min(shape.height, shape.width) < 4:
        raise TaskError("TASK", f"cnn takes images of 4 x 4 pixels or more, these are {shape.width} x {shape.height}")
    return Cnn(
        shape.channels,
        shape.height,
        shape.width,
        integer(model, "width"),
        integer(model, "hidden"),
        class_count(model.schema),
    )


def class_count(schema: DataSchema) -> int:
    """Classes of the label. Raises TaskError."""
    if len(schema.classes) < 2:
        raise TaskError("TASK", f"the label column {schema.label!r} needs two classes or more")
    return len(schema.classes)


BUILDERS: dict[str, Callable[[ModelSpec], nn.Module]] = {"cnn": _cnn, "mlp": _mlp}


def build(model: ModelSpec, seed: int) -> nn.Module:
    """A model with seeded initial weights. Raises TaskError."""
    builder = BUILDERS.get(model.architecture)
    if builder is None:
        known = ", ".join(ARCHITECTURES)
        raise TaskError(
            "WORKER", f"this worker does not know the architecture {model.architecture!r}, only {known}: update it"
        )
    torch.manual_seed(seed)
    return builder(model)
