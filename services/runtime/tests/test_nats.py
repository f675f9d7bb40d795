"""NATS connections against the real server, killed and started again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from trainnet.runtime import nats

if TYPE_CHECKING:
    from services.runtime.tests.conftest import Server

CONFIG = """
host: 127.0.0.1
port: %d
authorization { users: [
  { user: service, password: pw }
  { user: narrow, password: pw, permissions: { publish: "allowed.>", subscribe: ["allowed.>", "_INBOX.narrow.>"] } }
] }
"""


@pytest.fixture
def server(nats_server: Server) -> Iterator[Server]:
    nats_server.start()
    yield nats_server
    nats_server.stop()


@pytest.fixture
def url(free_port: int) -> str:
    return f"nats://127.0.0.1:{free_port}"


@pytest.fixture
def nats_server(
    new_server: type[Server], server_binary: str, free_port: int, port_open: object, tmp_path: Path
) -> Server:
    config = tmp_path / "nats.conf"
    config.write_text(CONFIG % free_port)
    return new_server(
        [server_binary, "-c", str(config)],
        tmp_path / "nats.log",
        lambda: port_open(free_port),  # type: ignore[operator]
        dict(os.environ),
    )


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await event.wait()


async def test_subscriptions_survive_a_killed_server(server: Server, url: str) -> None:
    back, got = asyncio.Event(), asyncio.Event()

    async def on_reconnect() -> None:
        back.set()
        raise ValueError("a broken callback must not end the reconnecting")

    nc = await nats.connect(url, name="test", user="service", password="pw", on_reconnect=on_reconnect)

    async def on_message(_message: object) -> None:
        got.set()

    await nc.subscribe("allowed.x", cb=on_message)
    await nats.barrier(nc)
    for _ in range(2):
        back.clear()
        got.clear()
        server.kill()
        await asyncio.to_thread(server.start)
        await soon(back)
        await nc.publish("allowed.x", b"")
        await soon(got)
    await nc.close()


async def test_barrier_is_behind_what_was_queued(server: Server, url: str) -> None:
    one = await nats.connect(url, name="one", user="service", password="pw")
    other = await nats.connect(url, name="other", user="service", password="pw")
    for number in range(50):
        subscription = await one.subscribe(f"allowed.{number}")
        await nats.barrier(one)
        await other.publish(f"allowed.{number}", b"x")
        assert (await subscription.next_msg(timeout=5)).data == b"x"
    await one.close()
    await other.close()


async def test_the_first_connect_waits_for_the_server(nats_server: Server, url: str) -> None:
    connecting = asyncio.create_task(nats.connect(url, name="early", user="service", password="pw"))
    await asyncio.to_thread(nats_server.start)
    try:
        nc = await connecting
        assert nc.is_connected
        await nc.close()
    finally:
        nats_server.stop()


async def test_giving_up_says_why(server: Server, url: str, free_port: int) -> None:
    with pytest.raises(nats.NatsUnavailable, match=f"127.0.0.1:{free_port}.*(?i:authorization violation)"):
        await nats.connect(url, name="wrong", user="service", password="no", patience=1.0)
    server.kill()
    with pytest.raises(nats.NatsUnavailable, match="no connection within"):
        await nats.connect(url, name="absent", patience=0.5)
    connecting = asyncio.create_task(nats.connect(url, name="absent", patience=None))
    await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


async def test_a_refused_subject_is_a_warning(server: Server, url: str) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs:
        nc = await nats.connect(url, name="n", user="narrow", password="pw", inbox_prefix="_INBOX.narrow")
        assert nc.new_inbox().startswith("_INBOX.narrow.")
        await nc.subscribe("forbidden")
        await nats.barrier(nc)
        await nc.close()
    (refused,) = [entry for entry in logs if entry["event"] == "NATS refused a subject"]
    assert refused["log_level"] == "warning"
    assert "forbidden" in refused["error"]


async def test_closing_tells_the_owner(server: Server, url: str) -> None:
    closed = asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    nc = await nats.connect(url, name="test", user="service", password="pw", on_closed=on_closed)
    await nc.drain()
    await soon(closed)
    assert nc.is_closed
