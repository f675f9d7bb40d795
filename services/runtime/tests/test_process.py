"""A service as a process: exit codes, signals, and what it writes to stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

PRELUDE = """
import asyncio, logging, sys
import structlog
from trainnet.runtime import lifecycle, log
from trainnet.runtime.settings import StoreSettings
log.configure("probe", level="debug")
"""


def start(body: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAINNET_")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRELUDE + body],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, stderr


RUN = "sys.exit(lifecycle.run(main, service='probe'))"


def test_a_signal_drains_and_exits_0() -> None:
    process = start(f"""
async def main(stop):
    print("ready", type(asyncio.get_running_loop()).__module__, flush=True)
    await stop.wait()
    print("drained", flush=True)
{RUN}""")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready uvloop\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "drained\n"
    assert finish(process)[0] == 0


def test_a_second_signal_exits_hard() -> None:
    process = start(f"""
async def main(stop):
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()
{RUN}""")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("StoreSettings.load()", 2, "probe: TRAINNET_S3_ENDPOINT is not set; set it to the host:port"),
        ("raise lifecycle.StartupError('no room')", 1, "probe: no room"),
    ],
)
def test_a_wrong_start_is_a_clear_line_without_a_traceback(body: str, code: int, said: str) -> None:
    result, stderr = finish(start(f"async def main(stop): {body}\n{RUN}"))
    assert result == code
    assert said in stderr
    assert "Traceback" not in stderr


def test_a_failed_background_task_is_named_and_ends_the_service() -> None:
    result, stderr = finish(
        start(f"""
async def broken():
    raise ValueError("boom")
async def main(stop):
    async with asyncio.TaskGroup() as tg:
        lifecycle.supervised(tg, broken(), "relay")
        assert await lifecycle.wait_or_stop(stop, 60)
{RUN}""")
    )
    assert result == 1
    lines = [json.loads(line) for line in stderr.splitlines()]
    failed = next(line for line in lines if line["event"] == "background task failed")
    assert failed["task"] == "relay"
    assert failed["level"] == "error"
    assert failed["service"] == "probe"
    assert "ValueError: boom" in failed["exception"]


def test_logs_are_json_lines_without_secrets_and_carry_the_standard_library() -> None:
    _, stderr = finish(
        start("""
structlog.get_logger("x").info("connected", password="hush1", url="http://s/b/k?X-Amz-Signature=hush2&x=1", count=3)
logging.getLogger("nats").warning("lost %s", "nats://me:hush3@host:4222")
logging.getLogger("sqlalchemy").debug("drowning")
""")
    )
    ours, theirs = (json.loads(line) for line in stderr.splitlines())
    assert ours["event"] == "connected"
    assert ours["count"] == 3
    assert ours["url"] == "http://s/b/k?X-Amz-Signature=***&x=1"
    assert theirs["event"] == "lost nats://***@host:4222"
    assert theirs["logger"] == "nats"
    assert theirs["level"] == "warning"
    assert "hush" not in stderr


def test_the_console_form_is_for_people() -> None:
    _, stderr = finish(
        start("""
log.configure("probe", format="console")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("x").exception("failed", shard=3)
structlog.get_logger("x").debug("not shown")
""")
    )
    assert "failed" in stderr
    assert "shard=3" in stderr
    assert "ZeroDivisionError" in stderr
    assert "not shown" not in stderr
