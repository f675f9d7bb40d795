from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from services.worker.tests.export.test_export import told, trained
from services.worker.tests.models.scene import Scene, batches, png, tone
from trainnet.worker.predict.command import predict
from trainnet.worker.trainer.models.objectives import logits_of

app = typer.Typer()
app.command()(predict)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answers(*arguments: object) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return list(json.loads(result.output)["predictions"])


def folder_of(scene: Scene, architecture: str) -> tuple[Any, Path]:
    spec = scene.spec(architecture)
    model, files = trained(scene, spec)
    return model, scene.export(told(spec), **files)[0]


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "vit", "mobilenet_v2", "distilbert", "bert"])
def test_a_table_gets_the_model_s_own_answers(scene: Scene, architecture: str) -> None:
    model, folder = folder_of(scene, architecture)
    shard = scene.shard(architecture)
    found = answers(folder, shard.path, "--top", 2)
    with torch.no_grad():
        chances = torch.cat([logits_of(model.module, batch) for batch in batches(model, shard.path)]).softmax(1)
    classes = [item.name for item in shard.schema.classes]
    assert [one["input"] for one in found] == [f"row {number}" for number in range(1, len(chances) + 1)]
    for one, row in zip(found, chances, strict=True):
        # Two classes may be as likely as each other, to the last digits.
        assert one["probability"] == pytest.approx(float(row.max()), abs=1e-4)
        assert float(row[classes.index(one["label"])]) == pytest.approx(float(row.max()), abs=1e-4)
        assert len(one["top"]) == 2


def test_rows_of_a_csv_file(scene: Scene, tmp_path: Path) -> None:
    _, folder = folder_of(scene, "mlp")
    rows = scene.shards["table"].rows()
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert [one["label"] for one in answers(folder, path)] == [
        one["label"] for one in answers(folder, scene.shards["table"].path)
    ]
    shown = run(folder, path, "--top", 3).output.splitlines()
    assert shown[0].startswith("row 1\t")
    assert shown[0].count("%") == 3


def test_an_image_and_a_folder_of_them(scene: Scene, tmp_path: Path) -> None:
    import numpy as np

    _, folder = folder_of(scene, "cnn")
    images = tmp_path / "images" / "deeper"
    images.mkdir(parents=True)
    (images / "a.png").write_bytes(png(np.zeros((20, 20), dtype=np.uint8)))
    (images.parent / "b.PNG").write_bytes(png(np.full((8, 8, 3), 200, dtype=np.uint8)))
    (images / "notes.txt").write_text("no image")
    assert [one["input"] for one in answers(folder, images.parent)] == ["b.PNG", "deeper/a.png"]
    assert len(answers(folder, images / "a.png")) == 1


def test_texts(scene: Scene, tmp_path: Path) -> None:
    _, folder = folder_of(scene, "distilbert")
    text = "the ship sailed " * 50
    (tmp_path / "text.txt").write_text(text)
    (said,), (read,) = answers(folder, text), answers(folder, tmp_path / "text.txt")
    assert said["probability"] == read["probability"]
    assert said["label"] in {"sea", "farm"}

    _, folder = folder_of(scene, "gpt2")
    (made,) = answers(folder, "the ship", "--max-tokens", 5)
    assert made["text"].startswith("the ship")
    assert run(folder, "the ship", "--max-tokens", 5).output == made["text"] + "\n"
    result = run(folder, "word " * 2000)
    assert result.exit_code == 2
    assert "tokens, the model reads 512" in result.output


def test_sounds(scene: Scene, tmp_path: Path) -> None:
    _, folder = folder_of(scene, "whisper")
    (tmp_path / "low.wav").write_bytes(tone(300))
    (one,) = answers(folder, tmp_path / "low.wav")
    assert one["input"] == "low.wav"
    assert isinstance(one["text"], str)
    assert len(answers(folder, scene.shards["sounds"].path)) == 6
    (tmp_path / "long.wav").write_bytes(tone(300, 1.5))
    result = run(folder, tmp_path / "long.wav")
    assert result.exit_code == 2
    assert "1.5 s, the model takes 1 s" in result.output


def test_what_is_wrong_is_said_in_one_line(scene: Scene, tmp_path: Path) -> None:
    _, table = folder_of(scene, "mlp")
    _, images = folder_of(scene, "cnn")
    (tmp_path / "less.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.csv").write_text(",".join(c.name for c in scene.shards["table"].schema.columns) + "\n1,2,x,4,a\n")
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "t5"}')
    (tmp_path / "odd" / "model.safetensors").write_bytes(b"")
    for arguments, message in (
        ((tmp_path / "empty", "x"), "is no model's folder"),
        ((tmp_path / "odd", "x"), "holds a 't5'"),
        ((table, tmp_path / "none.csv"), "is no table"),
        ((table, tmp_path / "less.csv"), "no column 'sepal length (cm)'"),
        ((table, tmp_path / "bad.csv"), "column 'petal length (cm)' holds what is no number"),
        ((images, tmp_path / "none.png"), "there is no file or folder"),
        ((images, tmp_path / "bad.png"), "bad.png cannot be decoded"),
        ((images, tmp_path / "empty"), "holds no image"),
        ((images, scene.shards["table"].path), "has no column of image"),
        ((images, scene.shards["images"].path, "--column", "picture"), "has no column 'picture'"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert message in result.output
        assert len(result.output.splitlines()) == 1
