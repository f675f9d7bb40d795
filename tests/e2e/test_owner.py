"""What an owner does with data and models, by the command line, from a file to a model that starts the next one."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_iris

from trainnet.local.stack import LocalStack

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stack")
    with LocalStack(folder, workers=2) as stack:
        yield folder
        stack.kill_all()


def _trainnet(stack: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINNET_")}
    ended = subprocess.run(
        [sys.executable, "-m", "trainnet.cli.main", *arguments],
        env={**environment, "TRAINNET_DATA": str(stack)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def _json(stack: Path, *arguments: str) -> Any:
    return json.loads(_trainnet(stack, *arguments, "--json").stdout)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Iris with a column that says which rows are held out, and one that is no use."""
    found = load_iris()
    path = tmp_path / "flowers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", "species", "part", "mood"])
        for index, (row, label) in enumerate(zip(found.data, found.target, strict=True)):
            part = "test" if index % 5 == 0 else "train"
            writer.writerow([*row, found.target_names[label], part, "good" if index % 2 else "bad"])
    return path


def test_from_a_file_to_a_model_that_starts_the_next_one(stack: Path, flowers: Path, tmp_path: Path) -> None:
    uploaded = _json(stack, "datasets", "upload", str(flowers))
    assert uploaded["schema"]["label"] == "mood", "nothing says better, so the last column it is"
    edits = ("--label", "species", "--kind", "mood=ignored", "--split-column", "part")
    edited = _json(stack, "datasets", "edit", uploaded["dataset"], *edits)
    assert edited["schema"]["classes"] == {"setosa": 50, "versicolor": 50, "virginica": 50}
    assert edited["schema"]["split_holdout_rows"] == 30
    assert {column["name"]: column["kind"] for column in edited["profile"]["columns"]}["mood"] == "ignored"
    assert "█" in _trainnet(stack, "datasets", "show", uploaded["dataset"]).stdout

    settings = ("--set", "hidden=16", "--set", "learning_rate=0.1", "--rounds", "3", "--shards", "2")
    plan = ("--epochs", "5", "--split", "stratified")
    first = _json(stack, "train", uploaded["dataset"], "-a", "mlp", *settings, *plan, "--wait")
    assert first["metrics"]["accuracy"] > 0.8
    shown = _trainnet(stack, "jobs", "show", first["job"], "--plot").stdout
    assert "accuracy by round" in shown
    assert "┤" in shown
    assert "stratified" in shown

    model = tmp_path / "model"
    told = _trainnet(stack, "jobs", "download", first["job"], "--to", str(model)).stdout
    assert f"`trainnet predict {model} INPUT` runs it" in told
    assert {"README.md", "config.json", "model.safetensors"} <= {path.name for path in model.iterdir()}
    assert "species" in (model / "README.md").read_text(encoding="utf-8"), "the card tells of the data"

    further = ("--base", str(model), "--local-steps", "4")
    second = _json(stack, "train", uploaded["dataset"], "-a", "mlp", *settings, *further, "--wait")
    facts = _json(stack, "jobs", "show", second["job"])
    (uploaded_model,) = _json(stack, "models", "list")["models"]
    assert facts["base"] == uploaded_model["model"]
    assert facts["initial_metrics"]["accuracy"] == pytest.approx(first["metrics"]["accuracy"])
    assert (facts["local_steps"], facts["epochs"]) == (4, 0)


def test_what_does_not_fit_is_told_before_anything_runs(stack: Path, flowers: Path) -> None:
    wrong = _trainnet(stack, "train", str(flowers), "-a", "cnn", "--label", "species", code=2)
    assert "cnn" in wrong.stderr
    assert wrong.stderr.splitlines()[-1].startswith("error: ")
    kind = _trainnet(stack, "datasets", "upload", str(flowers), "--kind", "sorrow=text", code=1)
    assert "sorrow" in kind.stderr
