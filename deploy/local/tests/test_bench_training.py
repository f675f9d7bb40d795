"""`trainnet bench worker` and `bench job`: their data, and a small run beside a bare loop."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from trainnet.cli.main import app
from trainnet.local.bench import fashion
from trainnet.local.bench.bare import BareProcess
from trainnet.local.errors import LocalError


def write_idx(folder: Path, part: str, count: int) -> None:
    pixels = np.arange(count * 28 * 28, dtype=np.uint32).astype(np.uint8).tobytes()
    images = struct.pack(">IIII", 0x803, count, 28, 28) + pixels
    labels = struct.pack(">II", 0x801, count) + bytes(index % 10 for index in range(count))
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def test_idx_files_become_a_data_set_with_the_official_cut(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", 30)
    write_idx(tmp_path, "t10k", 10)
    images, labels = fashion.read(tmp_path, "train")
    assert (images.shape, labels.tolist()[:11]) == ((30, 28, 28), [*range(10), 0])
    fashion.write_parquet(tmp_path, tmp_path / "data.parquet")
    table = pq.read_table(tmp_path / "data.parquet")
    assert table["split"].to_pylist() == ["train"] * 30 + ["test"] * 10
    assert table["image"][0].as_py().startswith(b"\x89PNG")


_NO_IMAGES = gzip.compress(struct.pack(">II", 0x801, 9))


@pytest.mark.parametrize("content", [None, b"no gzip", _NO_IMAGES], ids=["missing", "no gzip", "no images"])
def test_without_the_images_a_line_names_their_package(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    done = CliRunner().invoke(app, ["bench", "job", "--data-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "apt-get install dataset-fashion-mnist" in done.stderr
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    ("architecture", "knobs"), [("mlp", []), ("gpt2", ["--set", "max_length=16", "--set", "batch_size=2"])]
)
def test_a_worker_beside_a_bare_loop(architecture: str, knobs: list[str]) -> None:
    options = ["--architecture", architecture, *knobs, "--rows", "16", "--seconds", "0.1", "--repeats", "1", "--json"]
    done = CliRunner().invoke(app, ["bench", "worker", *options])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["ratio"] > 0
    assert min(found["samples_per_s"], found["bare_samples_per_s"]) > 0
    assert found["steps"] >= 20


def test_an_architecture_that_is_not_there() -> None:
    done = CliRunner().invoke(app, ["bench", "worker", "--architecture", "noop"])
    assert (done.exit_code, "--architecture: 'noop' is none of bert, cnn" in done.stderr) == (1, True)


def test_a_bare_loop_that_dies_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="the bare loop died"):
        BareProcess(tmp_path)


def test_help_tells_of_benchmarks_alone() -> None:
    done = CliRunner().invoke(app, ["bench", "--help"])
    assert (done.exit_code, "prepare" in done.stdout, "completion" in done.stdout) == (0, True, False)
