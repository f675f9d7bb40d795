"""The demo's judgement: the model that it reads by itself is the model that workers train."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf.struct_pb2 import Struct
from safetensors.torch import save_file
from typer.testing import CliRunner

from trainnet.cli.main import app
from trainnet.local.demo import baseline, mnist, model, run
from trainnet.local.errors import LocalError
from trainnet.v1.dataset_pb2 import COLUMN_KIND_IMAGE, Column, DataSchema, ImageShape, LabelClass
from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.trainer.export.plain import plain_config
from trainnet.worker.trainer.inputs.encoding import Batch
from trainnet.worker.trainer.inputs.images import ImageEncoding
from trainnet.worker.trainer.models import build_model

HYPERPARAMETERS: dict[str, float | str] = {
    "width": 4,
    "hidden": 16,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0,
    "batch_size": 25,
}


def schema(rows: int) -> DataSchema:
    return DataSchema(
        columns=[Column(name="image", kind=COLUMN_KIND_IMAGE)],
        label="label",
        classes=[LabelClass(name=str(digit), rows=rows // 10) for digit in range(10)],
        image=ImageShape(height=28, width=28, channels=1),
        rows=rows,
    )


def read_rows(path: Path) -> Batch:
    """What the worker makes of a Parquet file of images."""
    encoding = ImageEncoding(schema(500), 28, 28, 1)
    blocks = list(encoding.examples(path))
    return encoding.batch(
        {name: torch.from_numpy(np.concatenate([block[name] for block in blocks])) for name in blocks[0]}
    )


def spec(rows: int) -> ModelSpec:
    settings = Struct()
    settings.update(HYPERPARAMETERS)
    return ModelSpec(architecture="cnn", hyperparameters=settings, schema=schema(rows))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 real images."""
    path = tmp_path_factory.mktemp("mnist") / "mnist.parquet"
    pixels, labels = mnist.read(mnist.find())
    mnist.write_parquet(pixels[::10], labels[::10], path)
    return path


def test_the_plain_model_is_the_workers_model(images: Path, tmp_path: Path) -> None:
    module = build_model(spec(500), seed=3).module
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(plain_config(spec(500))))
    found, weights = model.load(tmp_path)
    rows = read_rows(images)
    with torch.inference_mode():
        theirs = module(rows["pixel_values"])
        ours = model.cnn(weights, rows["pixel_values"])
    assert torch.allclose(ours, theirs, atol=1e-6)
    right = int((theirs.argmax(1) == rows["label"]).sum())
    assert model.accuracy(weights, found["classes"], images) == (right, 500)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "mlp"}))
    with pytest.raises(model.ModelUnknown, match="'mlp', the demo reads cnn"):
        model.load(tmp_path)


def test_one_machine_learns_from_all_rows_that_are_not_held_out(images: Path, tmp_path: Path) -> None:
    cut = baseline.cut(images, schema(500), 0.2, seed=0, folder=tmp_path / "rows")
    assert [len(read_rows(path)["label"]) for path in (cut.holdout, cut.rest)] == [100, 400]
    seen: list[tuple[int, int]] = []
    folder, show = tmp_path / "baseline", lambda step, steps: seen.append((step, steps))
    trained = baseline.train_alone(spec(500), cut.rest, epochs=10, seed=0, folder=folder, show=show)
    assert trained.steps == 10 * 400 / 25
    assert seen[-1] == (160, 160)
    right, rows = model.accuracy(trained.weights, [str(digit) for digit in range(10)], cut.holdout)
    assert rows == 100
    assert right > 50, "a tenth would be guessing"
    again = baseline.train_alone(spec(500), cut.rest, epochs=10, seed=0, folder=tmp_path / "again", show=show)
    assert all(np.array_equal(again.weights[name], trained.weights[name]) for name in trained.weights)


def test_a_folder_with_a_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(LocalError, match="is there already: name another folder with --keep"):
        run.Place(tmp_path)


def test_only_a_folder_of_its_own_is_removed(tmp_path: Path) -> None:
    run.Place(tmp_path / "kept").give_up()
    assert (tmp_path / "kept").is_dir()
    place = run.Place(None)
    place.give_up()
    assert not place.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--json", "/nowhere/result.json"], 1, "/nowhere/result.json cannot be written"),
        (["--keep", "/dev/null/folder"], 1, "/dev/null/folder cannot be used"),
        (["--workers", "0"], 2, ""),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(arguments: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(app, ["demo", *arguments])
    assert result.exit_code == code
    assert says in result.output
