"""A gRPC server with health, reflection, sane keepalive and a drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from trainnet.runtime.lifecycle import StartupError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Half of the client's period: the default of 5 min would answer our own clients with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 15_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Connections are renewed so that they spread over new replicas (gRPC adds 10 % jitter).
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 2 * 60_000),
    # Two servers on one port would share its connections silently; let the second one fail.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True)
class Tls:
    """PEM bytes of the server's certificate chain and key; with `client_ca`, clients must show a certificate of it."""

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes | None = None


class GrpcServer:
    """Serves registered services on `listen` (`host:port`; port 0 takes a free one).

    async with GrpcServer("127.0.0.1:0", interceptors=interceptors.standard()) as server: …

    `add` everything before start. Leaving the context drains with a grace of 5 seconds.
    """

    def __init__(
        self,
        listen: str,
        *,
        interceptors: Sequence[Any] = (),
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        tls: Tls | None = None,
    ) -> None:
        self._listen = listen
        self._tls = tls
        self._names: list[str] = []
        self._registrars: list[Callable[[Any], None]] = []
        self._interceptors = tuple(interceptors)
        self._options = (
            *_SERVER_OPTIONS,
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        )
        self._server: Any = None
        self._health: Any = None
        self._port = 0
        self._draining = False

    @property
    def port(self) -> int:
        """The bound port, known after start."""
        return self._port

    def add(self, registrar: Callable[[Any], None], service_full_name: str) -> None:
        """`registrar(server)` calls the generated `add_…Servicer_to_server`; the name is for health and reflection."""
        if self._server is not None:
            raise RuntimeError("add services before the server starts")
        self._registrars.append(registrar)
        self._names.append(service_full_name)

    async def start(self) -> None:
        """Binds and serves; health answers SERVING for "" and each service. Raises StartupError if it cannot bind."""
        # Built here, not in __init__: grpc.aio binds a server to the loop that is running.
        self._server = grpc.aio.server(interceptors=self._interceptors, options=self._options)
        for registrar in self._registrars:
            registrar(self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        try:
            if self._tls is None:
                self._port = self._server.add_insecure_port(self._listen)
            else:
                credentials = grpc.ssl_server_credentials(
                    [(self._tls.private_key, self._tls.certificate_chain)],
                    root_certificates=self._tls.client_ca,
                    require_client_auth=self._tls.client_ca is not None,
                )
                self._port = self._server.add_secure_port(self._listen, credentials)
        except RuntimeError as error:
            raise StartupError(f"cannot listen on {self._listen}: is the address in use? ({error})") from None
        await self._server.start()
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace: float = 5.0) -> None:
        """Health says NOT_SERVING, no new call is taken, running ones get `grace` seconds, then are cancelled.

        Idempotent. Tell long-lived streams to leave first: they count as running calls.
        """
        if self._server is None or self._draining:
            return
        self._draining = True
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def wait_closed(self) -> None:
        """Returns when the server has stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded: a cancelled service must still close its port before the process goes on.
        await asyncio.shield(self.drain())
