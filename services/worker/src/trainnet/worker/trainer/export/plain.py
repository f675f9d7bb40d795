"""What a loader must know of `mlp` and `cnn`: shapes, classes, and what becomes of a row."""

from __future__ import annotations

from typing import Any

from trainnet.v1.dataset_pb2 import COLUMN_KIND_CATEGORICAL, COLUMN_KIND_IMAGE, COLUMN_KIND_NUMERIC, ColumnKind
from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.trainer.hyperparameters import integers
from trainnet.worker.trainer.inputs.tables import feature_count


def plain_config(spec: ModelSpec) -> dict[str, Any]:
    """config.json of an architecture that transformers does not know. Raises TaskError."""
    schema = spec.schema
    common: dict[str, Any] = {"library_name": "trainnet", "architecture": spec.architecture}
    if spec.architecture == "noop":
        return common
    common["classes"] = [item.name for item in schema.classes]
    common["label"] = schema.label
    if spec.architecture == "cnn":
        image = schema.image
        columns = [column.name for column in schema.columns if column.kind == COLUMN_KIND_IMAGE]
        return {
            **common,
            "column": columns[0] if columns else "image",
            "channels": image.channels,
            "height": image.height,
            "width": image.width,
            "resample": "bilinear",
            "pixels": "from 0 to 1",
        }
    kinds: dict[ColumnKind, str] = {COLUMN_KIND_NUMERIC: "numeric", COLUMN_KIND_CATEGORICAL: "categorical"}
    columns_of: list[dict[str, Any]] = []
    for column in schema.columns:
        if column.kind in kinds:
            entry: dict[str, Any] = {"name": column.name, "kind": kinds[column.kind]}
            if column.kind == COLUMN_KIND_NUMERIC:
                entry |= {"mean": column.mean, "deviation": column.deviation or 1.0}
            else:
                entry["categories"] = list(column.categories)
            columns_of.append(entry)
    return {**common, "features": feature_count(schema), "hidden": integers(spec, "hidden"), "columns": columns_of}


MLP_LOADER = """\
import json, pathlib, torch
from safetensors.torch import load_file

config = json.loads(pathlib.Path("config.json").read_text())
weights = load_file("model.safetensors")

def encode(row):  # a dictionary, as a row of the data set
    values = []
    for column in config["columns"]:
        value = row.get(column["name"])
        if column["kind"] == "numeric":
            values.append(0.0 if value is None else (value - column["mean"]) / column["deviation"])
        else:
            values += [float(value == category) for category in column["categories"]]
    return torch.tensor([values])

def model(x):
    for i in range(len(config["hidden"])):
        x = torch.relu(torch.nn.functional.linear(x, weights[f"hidden.{i}.weight"], weights[f"hidden.{i}.bias"]))
    return torch.nn.functional.linear(x, weights["output.weight"], weights["output.bias"])
"""

CNN_LOADER = """\
import json, pathlib, torch
from safetensors.torch import load_file

config = json.loads(pathlib.Path("config.json").read_text())
weights = load_file("model.safetensors")
F = torch.nn.functional

def layer(function, name, x, **options):
    return function(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

def model(x):  # (images, channels, height, width), pixels from 0 to 1
    x = F.max_pool2d(torch.relu(layer(F.conv2d, "first", x, padding=1)), 2)
    x = F.max_pool2d(torch.relu(layer(F.conv2d, "second", x, padding=1)), 2)
    return layer(F.linear, "output", torch.relu(layer(F.linear, "hidden", x.flatten(1))))
"""
