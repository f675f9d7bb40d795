"""The doorbell: assignments over NATS, at once. Without it they come with the desired state, only later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg

from trainnet.runtime import nats
from trainnet.v1.events_pb2 import TaskAssigned
from trainnet.v1.worker_pb2 import NatsAccess
from trainnet.worker.agent.backoff import Backoff


class Doorbell:
    """Subscribes to the worker's one subject. Never in the way of the session: it runs beside it and heals alone."""

    def __init__(self, on_assigned: Callable[[TaskAssigned], None]) -> None:
        self._on_assigned = on_assigned
        self._access: tuple[str, str, str, str] | None = None
        self._changed = asyncio.Event()
        self._client: Client | None = None
        self._log = structlog.get_logger(__name__)

    @property
    def connected(self) -> bool:
        """Whether an assignment would be heard now."""
        return self._client is not None and self._client.is_connected

    def use(self, access: NatsAccess, token: str) -> None:
        """Where to listen, from welcome."""
        wanted = (access.url, access.subject, access.inbox_prefix, token) if access.url and access.subject else None
        if wanted != self._access:
            self._access = wanted
            self._changed.set()

    async def run(self) -> None:
        """Listens until cancelled."""
        backoff = Backoff(0.2, 10.0)
        while True:
            self._changed.clear()
            if self._access is None:
                await self._changed.wait()
                continue
            listening = asyncio.create_task(self._listen(*self._access))
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({listening, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (listening, changed):
                    task.cancel()
                await asyncio.gather(listening, changed, return_exceptions=True)
            if not self._changed.is_set():
                await backoff.pause()

    async def _listen(self, url: str, subject: str, inbox_prefix: str, token: str) -> None:
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        async def on_message(message: Msg) -> None:
            try:
                self._on_assigned(TaskAssigned.FromString(message.data))
            except DecodeError:
                self._log.warning("an assignment could not be read", subject=subject)

        client = None
        try:
            client = await nats.connect(
                url,
                name="trainnet-worker",
                token=token,
                inbox_prefix=inbox_prefix or None,
                on_closed=on_closed,
                patience=None,
            )
            await client.subscribe(subject, cb=on_message)
            self._client = client
            self._log.debug("doorbell stands", subject=subject)
            await closed.wait()
        except nats.NatsUnavailable as error:
            self._log.debug("no doorbell", error=str(error))
        finally:
            self._client = None
            if client is not None:
                await client.close()
