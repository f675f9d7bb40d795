"""The volunteer's commands as processes: one clear line and an exit code, never a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMANDS = "from trainnet.worker import commands; commands.FIRST_CONTACT_SECONDS = 0.3; commands.app()"


async def worker(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMANDS,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


def last(text: str) -> str:
    return text.strip().splitlines()[-1]


async def test_nobody_at_the_address(tmp_path: Path) -> None:
    code, _, err = await worker("join", "127.0.0.1:1", "--token", "t", "--data", str(tmp_path))
    assert code == 2
    assert last(err).startswith("worker: no coordinator answers at 127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://host:1"], "ADDRESS is wrong: expected host:port without a scheme"),
        (["host:1", "--slots", "0"], "--slots is wrong"),
        (["host:1", "--max-disk", "much"], "--max-disk is wrong: 'much' is no size"),
        (["host:1", "--max-memory", "800M"], "--max-memory is wrong: 0.8 GB is too little for 1 slot; set it to"),
        (["host:1", "--max-memory", "1GB", "--slots", "2"], "1 GB is too little for 2 slots"),
        (["host:1", "--max-bandwidth", "10Mbps"], "--max-bandwidth is wrong: '10Mbps' is no rate; set it to"),
        (["host:1", "--max-bandwidth", "9k"], "--max-bandwidth is wrong"),
        (["host:1", "--max-threads", "-1"], "--max-threads is wrong"),
    ],
)
async def test_wrong_options(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, _, err = await worker("join", *arguments, "--token", "t", "--data", str(tmp_path))
    assert code == 2
    assert message in err


async def test_a_wrong_token(peer: Any, tmp_path: Path) -> None:
    peer.refuse_token = True
    code, _, err = await worker("join", peer.address, "--token", "wrong", "--data", str(tmp_path))
    assert code == 3
    assert last(err) == "worker: the coordinator refuses the join token: unknown join token"
    code, _, err = await worker("join", peer.address, "--data", str(tmp_path))
    assert code == 3
    assert "give the operator's join token with --token" in last(err)


async def test_nothing_runs_here(tmp_path: Path) -> None:
    for command in ("status", "pause", "resume"):
        code, _, err = await worker(command, "--data", str(tmp_path / "none"))
        assert code == 4
        assert "start it with `trainnet worker join ADDRESS`" in err
    code, _, err = await worker("leave", "--data", str(tmp_path / "none"))
    assert code == 4


async def test_the_limits_are_kept_told_and_shown(peer: Any, tmp_path: Path, eventually: Any) -> None:
    data = str(tmp_path / "data")
    limits = ("--slots", "2", "--max-threads", "1", "--max-memory", "3GB", "--max-bandwidth", "16Mbit/s")
    joined = asyncio.create_task(worker("join", peer.address, "--token", "t", "--data", data, *limits))
    await eventually(lambda: peer.hellos, seconds=60)
    assert peer.hellos[0].capabilities.memory_bytes == 3_000_000_000
    code, out, _ = await worker("status", "--json", "--data", data)
    assert code == 0
    status = json.loads(out)
    assert status["max_memory_bytes"] == 3_000_000_000
    assert status["max_bandwidth_bytes_per_s"] == 2_000_000
    code, out, _ = await worker("status", "--data", data, COLUMNS="200")
    assert "2 slots of 1 thread, memory 3 GB, bandwidth 2 MB/s" in out
    await worker("leave", "--data", data)
    assert (await joined)[0] == 0


async def test_from_join_to_leave(peer: Any, tmp_path: Path, eventually: Any) -> None:
    # Deeper than a socket's path may be.
    data = str(tmp_path / ("deep" * 30))
    joined = asyncio.create_task(worker("join", peer.address, "--token", "t", "--name", "n", "--data", data))
    await eventually(lambda: peer.hellos, seconds=60)
    code, out, _ = await worker("status", "--json", "--data", data)
    assert code == 0
    assert json.loads(out)["worker"] == "workers/w1"
    code, out, _ = await worker("pause", "--data", data)
    assert code == 0
    assert "paused" in out
    code, out, _ = await worker("resume", "--data", data)
    assert "paused" not in out
    code, out, _ = await worker("leave", "--data", data)
    assert code == 0
    assert (await joined)[0] == 0
    assert "worker.json" not in os.listdir(data)  # noqa: PTH208


async def test_a_signal_ends_the_agent_with_code_0(peer: Any, tmp_path: Path, eventually: Any) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trainnet.worker",
        env={
            **os.environ,
            "TRAINNET_COORDINATOR": peer.address,
            "TRAINNET_JOIN_TOKEN": "t",
            "TRAINNET_DATA_DIR": str(tmp_path),
            "TRAINNET_READY_FILE": str(tmp_path / "ready"),
        },
        stderr=subprocess.PIPE,
    )
    await eventually(lambda: (tmp_path / "ready").exists(), seconds=60)
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err
