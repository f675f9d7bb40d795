"""The downloaded model, read by nothing of ours: safetensors for the weights, torch for the arithmetic.

This is what an owner would write, so it proves that the folder is all that is needed.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d

from trainnet.local.errors import LocalError


class ModelUnknown(LocalError):
    """The folder's config.json describes something else than the demo trains."""

    def __init__(self, folder: Path, architecture: object) -> None:
        super().__init__(f"{folder}/config.json describes the architecture {architecture!r}, the demo reads cnn")


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, weights) of a downloaded model. Raises ModelUnknown."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["architecture"] != "cnn":
        raise ModelUnknown(folder, config["architecture"])
    return config, load_file(folder / "model.safetensors")


def cnn(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Logits (rows, classes) of images (rows, channels, height, width) from 0 to 1."""
    x = max_pool2d(torch.relu(conv2d(x, weights["first.weight"], weights["first.bias"], padding=1)), 2)
    x = max_pool2d(torch.relu(conv2d(x, weights["second.weight"], weights["second.bias"], padding=1)), 2)
    x = torch.relu(linear(x.flatten(1), weights["hidden.weight"], weights["hidden.bias"]))
    return linear(x, weights["output.weight"], weights["output.bias"])


def accuracy(weights: Mapping[str, Tensor], labels: list[str], rows: Path) -> tuple[int, int]:
    """(right, all) over a Parquet file with columns `image` and `label`; the model's outputs are in `labels`' order."""
    table = pyarrow.parquet.read_table(rows)
    pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("L")) for data in table["image"].to_pylist()]
    x = torch.from_numpy(np.stack(pictures)).unsqueeze(1).float() / 255
    y = torch.tensor([labels.index(str(label)) for label in table["label"].to_pylist()])
    with torch.inference_mode():
        right = int((cnn(weights, x).argmax(1) == y).sum())
    return right, len(y)
