"""`trainnet demo` as a person starts it, with fewer rounds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

COMMAND = [sys.executable, "-m", "trainnet.cli.main", "demo"]


@pytest.mark.timeout(240)
def test_it_trains_a_model_that_loads(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [*COMMAND, "--json", str(result), "--rounds", "2", "--workers", "2", "--keep", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(result.read_text())
    assert {"accuracy", "baseline_accuracy", "wall_s", "rounds", "model"} <= found.keys()
    assert found["rounds"] == 2
    assert found["accuracy"] > 0.9
    assert found["baseline_accuracy"] > 0.9
    assert found["steps"] == found["baseline_steps"] == 640
    model = Path(found["model"])
    assert model == tmp_path / "demo" / "model"
    config = json.loads((model / "config.json").read_text())
    weights = load_file(model / "model.safetensors")
    assert weights["output.bias"].shape == (len(config["classes"]),)
    told = next(line for line in ended.stdout.splitlines() if "evaluated the last round says" in line)
    assert told.endswith(f"{found['accuracy']:.4f}"), "the worker's evaluation is that of the downloaded model"
    assert str(model) in ended.stdout
    assert not (tmp_path / "demo" / "stack" / "endpoints.json").exists(), "the stack was stopped"


def test_ctrl_c_stops_it_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    endpoints = folder / "stack" / "endpoints.json"
    running = subprocess.Popen(
        [*COMMAND, "--keep", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not endpoints.exists():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pids = json.loads(endpoints.read_text())["pids"].values()
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=20)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
