"""NATS connections that come back for ever, and a barrier that is one.

What nats-py 2.16 really does (aio/client.py), and what is done about it here:
- with `allow_reconnect` the first connect loops without an end, also on a wrong password: bounded by a deadline here;
- `reconnect_time_wait` is a fixed pause: `reconnect_to_server_handler` gives an exponential one;
- an exception in `reconnected_cb` counts as a failed reconnect or kills the reconnecting task: caught here;
- an -ERR other than a permission violation (an expired login, a kick) *closes* the client for good, whatever the
  reconnect settings: `on_closed` says so, and the owner connects anew.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from nats.aio.client import Client, Server

FIRST_DELAY = 0.2
MAX_DELAY = 2.0
_REPEAT_LOG_SECONDS = 10.0

Callback = Callable[[], Awaitable[None]]


class NatsUnavailable(Exception):
    """NATS could not be reached in time."""


def _backoff(servers: list[Server], _info: dict[str, Any]) -> tuple[Server | None, float]:
    """Least tried server first; 0.2 s doubling to 2 s, jittered so that a crowd does not return in step."""
    server = min(servers, key=lambda item: item.reconnects)
    # A fresh disconnection counts as no attempt, so the first try comes almost at once.
    delay = min(MAX_DELAY, FIRST_DELAY * 2 ** min(server.reconnects, 8))
    return server, delay * random.uniform(0.5, 1.0)


class _Reporter:
    """Logs what happens to one connection, without a line per failed attempt."""

    def __init__(self, name: str, url: str, on_reconnect: Callback | None, on_closed: Callback | None) -> None:
        self._log = structlog.get_logger(__name__).bind(connection=name, url=url)
        self._on_reconnect = on_reconnect
        self._on_closed = on_closed
        self._last_report = -_REPEAT_LOG_SECONDS
        self.last_error: Exception | None = None
        self.connected = False
        self.opened = False
        self.closing = False

    async def error(self, error: Exception) -> None:
        # What the server said tells more than that it hung up afterwards.
        if self.last_error is None or not isinstance(error, ConnectionError):
            self.last_error = error
        text = str(error) or type(error).__name__
        if "permissions violation" in text.lower():
            self._log.warning("NATS refused a subject", error=text)
            return
        now = time.monotonic()
        if now - self._last_report >= _REPEAT_LOG_SECONDS:
            self._last_report = now
            self._log.warning("NATS error" if self.connected else "NATS is not reachable, trying on", error=text)
        else:
            self._log.debug("NATS error", error=text)

    async def disconnected(self) -> None:
        if self.connected and not self.closing:
            self._log.warning("NATS connection lost, reconnecting")
        self.connected = False

    async def reconnected(self) -> None:
        self.connected = True
        self._last_report = -_REPEAT_LOG_SECONDS
        self._log.info("NATS connection is back")
        await self._tell(self._on_reconnect)

    async def closed(self) -> None:
        if not self.closing:
            self._log.error("NATS closed the connection for good", error=str(self.last_error or ""))
        if self.opened:  # otherwise connect raises, and nobody has to be told
            await self._tell(self._on_closed)

    async def _tell(self, callback: Callback | None) -> None:
        if callback is None:
            return
        try:
            await callback()
        except Exception:  # noqa: BLE001  # must not end the reconnecting task
            self._log.exception("NATS callback failed")


class _Client(Client):
    """Knows a close that was asked for from one that was forced upon it."""

    reporter: _Reporter

    async def close(self) -> None:
        self.reporter.closing = True
        await super().close()

    async def drain(self) -> None:
        self.reporter.closing = True
        await super().drain()


async def connect(
    url: str,
    *,
    name: str,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    inbox_prefix: str | None = None,
    on_reconnect: Callback | None = None,
    on_closed: Callback | None = None,
    patience: float | None = 60.0,
) -> Client:
    """Connects and stays connected: lost connections are made again without an end, pauses 0.2 to 2 seconds.

    The first connect is tried for `patience` seconds (None: until cancelled), then NatsUnavailable is raised with the
    last error. `on_reconnect` runs after each return, when subscriptions stand again: look then for what was missed.
    `on_closed` runs when the client has closed, by us or because the server ended the login; it is then useless and
    has lost its subscriptions. Messages published while disconnected are buffered (2 MiB) or refused, and a publish
    that fails may still arrive.
    """
    reporter = _Reporter(name, url, on_reconnect, on_closed)
    client = _Client()
    client.reporter = reporter
    options: dict[str, Any] = {}
    if inbox_prefix is not None:
        options["inbox_prefix"] = inbox_prefix
    try:
        async with asyncio.timeout(patience):
            await client.connect(
                servers=url,
                name=name,
                user=user,
                password=password,
                token=token,
                error_cb=reporter.error,
                disconnected_cb=reporter.disconnected,
                reconnected_cb=reporter.reconnected,
                closed_cb=reporter.closed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=FIRST_DELAY,  # type: ignore[arg-type]  # a float in all but its annotation
                reconnect_to_server_handler=_backoff,
                connect_timeout=5,
                ping_interval=20,
                max_outstanding_pings=2,
                **options,
            )
    except BaseException as error:
        reporter.closing = True
        reporter.connected = False
        await client.close()
        if isinstance(error, TimeoutError):
            raise NatsUnavailable(f"{url}: no connection within {patience:g} s: {reporter.last_error}") from error
        raise
    reporter.connected = reporter.opened = True
    return client


async def barrier(nc: Client, within: float = 5.0) -> None:
    """Returns when the server has processed all that was subscribed and published before.

    Raises nats.errors.TimeoutError after `within` seconds.

    One flush is no barrier: nats-py writes its PING ahead of queued SUB and PUB lines. The second PING is behind them.
    """
    await nc.flush(within)  # type: ignore[arg-type]
    await nc.flush(within)  # type: ignore[arg-type]
