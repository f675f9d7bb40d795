"""Small real data of every kind, models for them, and the tasks around a model run in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from google.protobuf import json_format
from PIL import Image
from sklearn.datasets import load_digits, load_iris

from trainnet.v1 import dataset_pb2 as data
from trainnet.v1 import task_pb2
from trainnet.worker.protocol import OutputFile, input_artifacts
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.export.export import export
from trainnet.worker.trainer.initialize import initialize
from trainnet.worker.trainer.inputs.encoding import Batch
from trainnet.worker.trainer.models.configuration import OURS, fields_of
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.model import Model

TEXTS = {
    "sea": ["the waves were high and the ship was small", "salt water and wind all night", "a sail on the horizon"],
    "farm": ["the cows stood in the green field", "hay was stacked in the old barn", "rain made the fields muddy"],
}
DATA_OF = {
    "mlp": "table",
    "cnn": "images",
    "mobilenet_v2": "images",
    "vit": "images",
    "distilbert": "texts",
    "bert": "texts",
    "gpt2": "texts",
    "whisper": "sounds",
}
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [8], "dropout": 0.0},
    "cnn": {"width": 4, "hidden": 8},
    "mobilenet_v2": {"config.depth_multiplier": 0.1},
    "vit": {"config.num_hidden_layers": 2, "config.hidden_size": 24, "config.intermediate_size": 32},
    "distilbert": {"config.dim": 32, "config.hidden_dim": 32},
    "bert": {"config.hidden_size": 32, "config.intermediate_size": 32},
    "gpt2": {"config.n_embd": 32, "config.n_layer": 2},
    "whisper": {"config.d_model": 32, "config.encoder_ffn_dim": 32, "config.decoder_ffn_dim": 32, "max_seconds": 1},
}


@dataclass(frozen=True)
class Shard:
    """Rows in a file, and what inspection would say of them."""

    schema: data.DataSchema
    path: Path

    def rows(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.path).to_pylist())


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tone(hertz: float, seconds: float = 0.5) -> bytes:
    buffer = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def shards(folder: Path) -> dict[str, Shard]:
    """Digits, iris, a few sentences, and tones that are called by their pitch."""
    digits = load_digits()
    images = {
        "image": [png((image * 15).astype("uint8")) for image in digits.images[:60]],
        "digit": [str(target) for target in digits.target[:60]],
    }
    iris = load_iris()
    table = {name: iris.data[::3, index] for index, name in enumerate(iris.feature_names)}
    table["size"] = ["small" if row[2] < 3 else "large" for row in iris.data[::3]]
    table["species"] = [str(iris.target_names[target]) for target in iris.target[::3]]
    texts = {
        "text": [text for about in TEXTS.values() for text in about] * 4,
        "about": [about for about, found in TEXTS.items() for _ in found] * 4,
    }
    sounds = {"audio": [tone(300), tone(1500)] * 3, "said": ["low tone", "high tone"] * 3}
    numeric = [
        data.Column(name=name, kind=data.COLUMN_KIND_NUMERIC, mean=np.mean(table[name]), deviation=np.std(table[name]))
        for name in iris.feature_names
    ]
    size = data.Column(name="size", kind=data.COLUMN_KIND_CATEGORICAL, categories=["large", "small"])
    found = {
        "images": (images, [data.Column(name="image", kind=data.COLUMN_KIND_IMAGE)], "digit"),
        "table": (table, [*numeric, size], "species"),
        "texts": (texts, [data.Column(name="text", kind=data.COLUMN_KIND_TEXT)], "about"),
        "sounds": (sounds, [data.Column(name="audio", kind=data.COLUMN_KIND_AUDIO)], "said"),
    }
    made = {}
    for name, (columns, kinds, label) in found.items():
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        schema = data.DataSchema(columns=kinds, label=label, rows=len(columns[label]))
        if name == "sounds":
            schema.label_is_text = True
        else:
            values = list(columns[label])
            schema.classes.extend(data.LabelClass(name=one, rows=values.count(one)) for one in sorted(set(values)))
        if name == "images":
            schema.image.CopyFrom(data.ImageShape(height=8, width=8, channels=1))
        made[name] = Shard(schema, path)
    return made


def spec_of(architecture: str, schema: data.DataSchema, **changes: Any) -> task_pb2.ModelSpec:
    """A small model, its hyperparameters complete as the coordinator sends them."""
    values: dict[str, Any] = {"batch_size": 8}
    family = FAMILIES.get(architecture)
    if family is not None:
        values |= {f"config.{name}": None for name in fields_of(family) if name not in OURS}
        values |= {"size": "tiny", "image_size": 0, "max_length": 24, "vocab_size": 300, "max_seconds": 1}
        values |= {"lora.rank": 0, "lora.alpha": 16, "lora.dropout": 0.0, "lora.targets": ""}
    spec = task_pb2.ModelSpec(architecture=architecture, schema=schema)
    json_format.ParseDict({**values, **SMALL[architecture], **changes}, spec.hyperparameters)
    return spec


class Scene:
    """Runs INITIALIZE and EXPORT, each in a folder of its own."""

    def __init__(self, folder: Path, made: dict[str, Shard]) -> None:
        self._folder, self.shards, self._runs = folder, made, 0
        folder.mkdir(exist_ok=True)

    def shard(self, architecture: str) -> Shard:
        return self.shards[DATA_OF[architecture]]

    def spec(self, architecture: str, **changes: Any) -> task_pb2.ModelSpec:
        return spec_of(architecture, self.shard(architecture).schema, **changes)

    def start(
        self, spec: task_pb2.ModelSpec, *, seed: int = 1, **more: Any
    ) -> tuple[task_pb2.InitializeResult, dict[str, OutputFile]]:
        """`more`: inputs by name, where they are paths, else fields of the InitializeSpec."""
        inputs = {name: value for name, value in more.items() if isinstance(value, Path)}
        fields = {name: value for name, value in more.items() if not isinstance(value, Path)}
        inputs.setdefault("sample", self.shard(spec.architecture).path)
        task = task_pb2.InitializeSpec(model=spec, seed=seed, **fields)
        for name, path in inputs.items():
            of_base = name in {"base_bundle", "base_frozen"}
            artifact = getattr(task.base_parts, name.removeprefix("base_")) if of_base else getattr(task, name)
            artifact.key = str(path)
        # By the names that the agent gives them.
        given = input_artifacts(task_pb2.TaskSpec(initialize=task))
        context, outputs = self._context({name: Path(artifact.key) for name, artifact in given.items()})
        return initialize(task, context).initialize, outputs

    def export(self, spec: task_pb2.ExportSpec, **inputs: Path) -> tuple[Path, dict[str, OutputFile]]:
        context, outputs = self._context(inputs)
        export(spec, context)
        return context.out / "model", outputs

    def _context(self, inputs: dict[str, Path]) -> tuple[TaskContext, dict[str, OutputFile]]:
        self._runs += 1
        out = self._folder / str(self._runs)
        out.mkdir()
        outputs: dict[str, OutputFile] = {}
        return TaskContext(
            inputs,
            out,
            on_progress=lambda step: None,
            on_output=lambda output: outputs.update({output.output: output}),
        ), outputs


def batches(model: Model, path: Path) -> Iterator[Batch]:
    """All examples, block by block."""
    names = {field.name for field in model.encoding.fields}
    for block in model.encoding.examples(path):
        yield model.encoding.batch({name: torch.from_numpy(block[name]) for name in block.keys() & names})


def learn(model: Model, path: Path, *, steps: int, rate: float = 0.01) -> list[float]:
    """The losses of a few steps on the first batch."""
    torch.manual_seed(0)
    model.module.train()
    optimizer = torch.optim.AdamW([one for one in model.module.parameters() if one.requires_grad], lr=rate)
    batch, losses = next(batches(model, path)), []
    for _ in range(steps):
        loss = model.objective.loss(model.module, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    model.module.eval()
    return losses


def digests(outputs: dict[str, OutputFile]) -> dict[str, tuple[bytes, ...]]:
    return {name: output.part_sha256 for name, output in outputs.items()}


def paths(outputs: dict[str, OutputFile], *names: str, prefix: str = "") -> dict[str, Path]:
    return {f"{prefix}{name}": outputs[name].path for name in names if name in outputs}
