"""Two coordinators on one PostgreSQL: the stack's own, and a second one that its first worker prefers."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from trainnet.local import ports, secrets
from trainnet.local.program import Program
from trainnet.local.ready import GrpcServing
from trainnet.local.stack import LocalStack

SECOND = "coordinator-2"


def free_port() -> int:
    with socket.create_server((ports.HOST, 0)) as server:
        return int(server.getsockname()[1])


class Service:
    """What a cluster puts before its replicas: one address, whose connections go to the first replica that answers."""

    def __init__(self, *backends: int) -> None:
        self._backends = backends
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connected, ports.HOST, 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            for backend in self._backends:
                try:
                    up, down = await asyncio.open_connection(ports.HOST, backend)
                except OSError:
                    continue
                with contextlib.closing(down):
                    await asyncio.wait(
                        [asyncio.create_task(_copy(reader, down)), asyncio.create_task(_copy(up, writer))],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                return


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    except OSError:
        pass  # one end is gone: so is the connection


class TwoCoordinators(LocalStack):
    """worker-1 goes to the second coordinator as long as that one lives; all others know the first only."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._service: Service | None = None
        self.second_port = free_port()

    @property
    def second(self) -> str:
        return f"{ports.HOST}:{self.second_port}"

    def _programs(self, secret: secrets.Secrets, port: ports.Ports) -> Sequence[Program]:
        self._service = Service(self.second_port, port.grpc).__enter__()
        programs = list(super()._programs(secret, port))
        for index, program in enumerate(programs):
            if program.name == "coordinator":
                second = dataclasses.replace(
                    program,
                    name=SECOND,
                    readiness=GrpcServing(ports.HOST, self.second_port),
                    env={**program.env, "TRAINNET_LISTEN": self.second},
                )
            if program.name == "worker-1":
                env = {**program.env, "TRAINNET_COORDINATOR": f"{ports.HOST}:{self._service.port}"}
                programs[index] = dataclasses.replace(program, env=env, after=(*program.after, SECOND))
        return [*programs, second]

    def stop(self) -> None:
        super().stop()
        if self._service is not None:
            self._service.__exit__(None, None, None)
            self._service = None
