"""What downloads and uploads have in common: one HTTP session, and how long to bear with a store."""

from __future__ import annotations

import time

import aiohttp
from yarl import URL

from trainnet.v1.artifact_pb2 import SignedRequest
from trainnet.worker.agent.backoff import Backoff
from trainnet.worker.errors import TaskError

SMALL = 1024 * 1024
BLOCK = 4 * 1024 * 1024
PATIENCE = 600.0
"""Seconds without any progress after which a transfer is given up."""

TRANSIENT = (aiohttp.ClientError, TimeoutError, ConnectionError)


def open_http(*, read_ahead: int = SMALL) -> aiohttp.ClientSession:
    """Adds no header of its own: signed requests are sent as they were signed. `read_ahead` bytes of each download are
    taken from the line before anybody asks for them."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60),
        skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent", "Accept"),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=read_ahead,
        trust_env=True,
    )


def signed_url(request: SignedRequest) -> URL:
    """The URL byte for byte as it was signed."""
    return URL(request.url, encoded=True)


def signed_headers(request: SignedRequest) -> dict[str, str]:
    """The headers that were signed; the host comes from the URL."""
    return {name: value for name, value in request.headers.items() if name.lower() != "host"}


class Persistence:
    """How long to try: a store may restart, a network may break, but not for ever without any progress."""

    def __init__(self, what: str, patience: float = PATIENCE) -> None:
        self._what, self._patience = what, patience
        self._backoff = Backoff(0.1, 5.0)
        self._since = time.monotonic()
        self._refused = 0
        self._failed = 0

    def progressed(self) -> None:
        """Some bytes arrived."""
        self._backoff.reset()
        self._since = time.monotonic()
        self._refused = 0

    async def broke(self, reason: str) -> None:
        """Pauses before another attempt. Raises TaskError when it has been too long."""
        if time.monotonic() - self._since > self._patience:
            raise TaskError("WORKER", f"{self._what} failed for {self._patience:.0f} s: {reason}")
        await self._backoff.pause()

    async def refused(self, status: int) -> None:
        """The store refused fresh URLs too? Raises TaskError the fifth time in a row."""
        self._refused += 1
        if self._refused >= 5:
            raise TaskError("WORKER", f"{self._what} is refused by the store with status {status}; check its clock")
        if self._refused > 1:
            await self._backoff.pause()

    def damaged(self, reason: str) -> None:
        """Wrong bytes came or went. Raises TaskError the third time."""
        self._failed += 1
        if self._failed >= 3:
            raise TaskError("WORKER", f"{self._what} failed: {reason}")
