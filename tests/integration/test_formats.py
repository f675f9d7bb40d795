"""From a file to a model that others can load, with the command alone: CSV, Parquet, images."""

import hashlib
import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.support.command import Command
from tests.support.data import (
    BREAST_CANCER_ROWS,
    DIGITS_ROWS,
    breast_cancer_csv,
    breast_cancer_parquet,
    digits_parquet,
)
from tests.support.invariants import assert_invariants
from tests.support.stacks import Stack

ROUND_KEYS = {"number", "state", "merged_sha256", "metrics", "open_time", "merged_time", "decision", "manifest"}
ENTRY_KEYS = {"shard", "worker", "fence", "digest", "examples"}
SHARDS = 2
ROUNDS = 2


@pytest.mark.parametrize(
    ("kind", "architecture", "settings", "rows", "accuracy"),
    [
        ("csv", "mlp", ["--epochs", "8"], BREAST_CANCER_ROWS, 0.85),
        ("parquet", "mlp", ["--epochs", "8", "--set", "hidden=32,16"], BREAST_CANCER_ROWS, 0.85),
        ("images", "cnn", ["--epochs", "6", "--set", "width=8", "--set", "batch_size=16"], DIGITS_ROWS, 0.6),
    ],
)
def test_a_file_becomes_a_model(
    stack: Stack,
    trainnet: Command,
    tmp_path: Path,
    kind: str,
    architecture: str,
    settings: list[str],
    rows: int,
    accuracy: float,
) -> None:
    makers = {"csv": breast_cancer_csv, "parquet": breast_cancer_parquet, "images": digits_parquet}
    file = makers[kind](tmp_path / ("data.csv" if kind == "csv" else "data.parquet"))

    result = trainnet(
        "train",
        file,
        "-a",
        architecture,
        "--rounds",
        str(ROUNDS),
        "--shards",
        str(SHARDS),
        *settings,
        "--wait",
        "--json",
    ).json
    assert result["state"] == "SUCCEEDED"
    assert result["wall_s"] > 0
    assert result["metrics"]["accuracy"] >= accuracy
    job = result["job"]

    shown = trainnet("jobs", "show", job, "--json").json
    assert shown["job"] == job
    assert [item["number"] for item in shown["rounds"]] == list(range(1, ROUNDS + 1))
    for item in shown["rounds"]:
        assert item.keys() >= ROUND_KEYS
        assert item["state"] == "MERGED"
        assert item["decision"]
        assert 0 <= item["metrics"]["accuracy"] <= 1
        assert item["open_time"] < item["merged_time"]
        assert [entry["shard"] for entry in item["manifest"]] == list(range(SHARDS))
        assert all(entry.keys() >= ENTRY_KEYS for entry in item["manifest"])
        # A fifth is held out, every other row is in exactly one shard.
        assert sum(entry["examples"] for entry in item["manifest"]) == rows - round(rows * 0.2)
    assert shown["rounds"][-1]["metrics"] == result["metrics"]

    verified = trainnet("jobs", "verify", job, "--json").json
    assert [item["result"] for item in verified["rounds"]] == ["ok"] * ROUNDS

    folder = tmp_path / "model"
    downloaded = trainnet("jobs", "download", job, "--to", folder, "--json").json
    assert set(downloaded["files"]) >= {"config.json", "model.safetensors", "README.md"}
    weights = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == shown["rounds"][-1]["merged_sha256"]
    tensors = load_file(folder / "model.safetensors")
    assert tensors
    assert all(abs(tensor).max() > 0 for tensor in tensors.values())
    assert json.loads((folder / "config.json").read_text())
    assert_invariants(stack, stack.client.jobs.get(job))


def test_the_same_file_is_uploaded_once(trainnet: Command, tmp_path: Path) -> None:
    file = breast_cancer_csv(tmp_path / "once.csv")
    first = trainnet("datasets", "upload", file, "--json").json
    second = trainnet("datasets", "upload", file, "--json").json
    assert first["dataset"] == second["dataset"]
    assert first["state"] == "READY"
    assert first["schema"]["rows"] == BREAST_CANCER_ROWS
    assert first["schema"]["label"] == "diagnosis"
    assert first["schema"]["classes"] == {"benign": 357, "malignant": 212}
