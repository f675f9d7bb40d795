"""`trainnet bench codecs` on a few rounds: its rows, and that they say what was measured."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from trainnet.local.bench.codecs import codec_of
from trainnet.local.bench.compression import text
from trainnet.local.errors import LocalError


@pytest.mark.timeout(300)
def test_rows() -> None:
    command = [sys.executable, "-m", "trainnet.cli.main", "bench", "codecs", "--json"]
    command += ["--codecs", "int8,topk", "--rounds", "2", "--shards", "2", "--local-steps", "2", "--set", "keep=32"]
    command += ["--base-codec", "bf16", "--moved", "0,1"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert answer.returncode == 0, answer.stderr
    every = [json.loads(line) for line in answer.stdout.splitlines()]
    rows, moving = every[::2], every[1::2]
    assert [row["moved"] for row in every] == [0.0, 1.0] * 3
    assert [row["codec"] for row in rows] == [row["codec"] for row in moving] == ["fp32", "int8", "topk"]
    assert all(moved["loss"] != row["loss"] for row, moved in zip(rows, moving, strict=True)), "optimisers began anew"
    assert {row["base_codec"] for row in rows} == {"bf16"}
    fp32, int8, topk = rows
    assert (fp32["bytes_ratio"], fp32["loss_gap"]) == (1.0, 0.0)
    assert fp32["bytes_per_parameter"] == pytest.approx(4, rel=0.02)
    assert int8["bytes_ratio"] == pytest.approx(3.97, rel=0.02)
    assert topk["bytes_ratio"] == pytest.approx(356, rel=0.15), "chunks of which 32 travel take 46 bytes"
    assert all(4 < row["loss"] < 7 for row in rows)
    assert all(row["loss_gap"] == pytest.approx(row["loss"] / fp32["loss"] - 1) for row in rows)


def test_a_number_that_makes_no_sense() -> None:
    assert codec_of("topk", {"keep": 5, "block_size": 64}).keep == 5
    with pytest.raises(LocalError, match="keep 5000 is more than a chunk has"):
        codec_of("topk", {"keep": 5000})


def test_text_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert text.write_text(tmp_path / "a.txt") == "generated sentences"
    state = random.getstate()
    random.seed(99)
    text.write_text(tmp_path / "b.txt")
    random.setstate(state)
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()
    lines = (tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20_000
    assert not any("{" in line for line in lines)
