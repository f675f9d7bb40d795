"""`trainnet bench prepare`: a small run, as a program reads it."""

import json
import subprocess
import sys

import pytest

from trainnet.local.bench.prepare import REPEATS


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_small_run(form: str) -> None:
    command = [
        sys.executable,
        "-m",
        "trainnet.cli.main",
        "bench",
        "prepare",
        "--rows",
        "20000",
        "--shards",
        "3",
        "--json",
    ]
    done = subprocess.run([*command, "--format", form], capture_output=True, text=True, check=True, timeout=100)
    result = json.loads(done.stdout)
    assert (result["rows"], result["shards"], result["format"]) == (20_000, 3, form)
    assert result["rows_per_s"] > 0
    assert result["ratio"] == pytest.approx(result["rows_per_s"] / result["bare_rows_per_s"])
    assert result["peak_rss_bytes"] > 10_000_000
    assert len(result["prepare_s"]) == len(result["bare_s"]) == REPEATS
