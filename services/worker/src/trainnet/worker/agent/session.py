"""The session: one stream to the coordinator at a time, made again for ever.

Ordering. Both directions keep their order, and the coordinator answers heartbeats in order (hello carries the first
one), so the n-th desired state tells about the n-th heartbeat of the stream. A lease obtained after that heartbeat was
written need not be in it: only fences that the heartbeat itself named may be judged missing. Each desired state is
therefore handed on together with the fences that its heartbeat held. A coordinator that answers hello with
welcome alone makes every judgement one heartbeat late, never wrong.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

import grpc
import structlog

from trainnet.v1.worker_pb2 import ConnectRequest, ConnectResponse, DesiredState, Drain, Heartbeat, Hello, Welcome
from trainnet.v1.worker_pb2_grpc import WorkerServiceStub
from trainnet.worker.agent.backoff import Backoff
from trainnet.worker.agent.channel import describe, open_channel
from trainnet.worker.agent.exchange import Exchange
from trainnet.worker.errors import JoinRefused, SessionEnded

WELCOME_DEADLINE = 10.0
ANSWER_PATIENCE = 10.0
DRAIN_PAUSE = 5.0
AWAY_PAUSE = 60.0
_DEBOUNCE = 0.1

Call = grpc.aio.StreamStreamCall[ConnectRequest, ConnectResponse]


class TokenVoid(SessionEnded):
    """The coordinator does not know this worker's token."""


class Listener(Protocol):
    """Who owns the state that the session tells and hears about."""

    def hello(self) -> Hello:
        """First message of a stream, with the whole current state."""

    def heartbeat(self) -> Heartbeat:
        """The whole current state."""

    def on_welcome(self, welcome: Welcome) -> None:
        """A stream stands."""

    def on_desired_state(self, desired: DesiredState, held: frozenset[int]) -> None:
        """`held` are the fences of the heartbeat that `desired` answers."""

    def on_message(self, message: ConnectResponse, *, asked: bool) -> None:
        """Anything else; `asked` when a question was waiting for it."""

    def on_drain(self, drain: Drain) -> None:
        """The replica shuts down, or this worker is to stay away."""

    def on_disconnect(self) -> None:
        """The stream is gone."""


class Session:
    """Keeps a stream open. `send` and `exchange.ask` work at any time: questions wait for the next stream."""

    def __init__(self, address: str, listener: Listener) -> None:
        self._address, self._listener = address, listener
        self._token, self._worker = "", ""
        self._outgoing: asyncio.Queue[ConnectRequest] = asyncio.Queue()
        self._held: deque[frozenset[int]] = deque()
        self._answered: frozenset[int] = frozenset()
        self._waiting_since: deque[float] = deque()
        self._beat = asyncio.Event()
        self._soon = False
        self.welcome: Welcome | None = None
        self.exchange = Exchange(self.send)
        self._backoff = Backoff(0.1, 5.0)
        self._log = structlog.get_logger(__name__)
        self._down_logged = False
        self._pause = 0.0

    @property
    def connected(self) -> bool:
        """Whether a stream stands and was welcomed."""
        return self.welcome is not None

    def use(self, worker: str, token: str) -> None:
        """Who connects, from the next stream on."""
        self._worker, self._token = worker, token

    def send(self, message: ConnectRequest) -> None:
        """Writes to the stream that stands; without one the message is lost, as on a broken connection."""
        if self.welcome is not None:
            self._outgoing.put_nowait(message)

    @property
    def congested(self) -> bool:
        """Whether informational messages should wait."""
        return self._outgoing.qsize() > 100

    def beat(self, *, soon: bool = False) -> None:
        """Sends a heartbeat now, or within a tenth of a second so that several changes share one."""
        self._soon = soon and (self._soon or not self._beat.is_set())
        self._beat.set()

    async def run(self) -> None:
        """Connects again and again until cancelled. Raises TokenVoid, JoinRefused."""
        while True:
            try:
                await self._stream()
            except TokenVoid:
                raise
            except SessionEnded as error:
                if not self._down_logged:
                    self._log.warning("session lost, connecting again", coordinator=self._address, reason=str(error))
                    self._down_logged = True
            if self._pause:
                self._pause, pause = 0.0, self._pause
                await asyncio.sleep(pause)
            else:
                await self._backoff.pause()

    async def _stream(self) -> None:
        channel = open_channel(self._address)
        call: Call | None = None
        try:
            call = WorkerServiceStub(channel).Connect(metadata=(("authorization", f"Bearer {self._token}"),))
            async with asyncio.timeout(WELCOME_DEADLINE):
                hello = self._listener.hello()
                await _put(call, ConnectRequest(hello=hello))
                welcome = await self._read_welcome(call)
            self._open(welcome, hello)
            await _first_of(self._read(call), self._write(call), self._beats(welcome))
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.ABORTED:
                # Another agent with our identity? Let two of them not drive each other out many times a second.
                self._pause = random.uniform(1, DRAIN_PAUSE)
            elif error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                # Over a limit: coming back at once would only go on with it. A welcome says nothing, so this pause does
                # not depend on whether there was one.
                self._pause = random.uniform(DRAIN_PAUSE / 2, 2 * DRAIN_PAUSE)
            raise _translate(error) from error
        except TimeoutError as error:
            raise SessionEnded("the coordinator does not answer") from error
        finally:
            self._close()
            if call is not None:
                call.cancel()
            await channel.close()

    async def _read_welcome(self, call: Call) -> Welcome:
        while True:
            message = await self._next(call)
            if message.WhichOneof("message") == "welcome":
                return message.welcome
            if message.WhichOneof("message") == "drain":
                self._take_drain(message.drain)

    def _open(self, welcome: Welcome, hello: Hello) -> None:
        self._outgoing = asyncio.Queue()
        self._held.clear()
        self._waiting_since.clear()
        self._note_heartbeat(hello.state)
        self.welcome = welcome
        self._backoff.reset()
        if self._down_logged:
            self._log.info("session is back", coordinator=self._address, epoch=welcome.epoch)
        self._down_logged = False
        self._listener.on_welcome(welcome)
        self.exchange.resend_all()

    def _close(self) -> None:
        if self.welcome is not None:
            self.welcome = None
            self._listener.on_disconnect()

    async def _read(self, call: Call) -> None:
        while True:
            message = await self._next(call)
            match message.WhichOneof("message"):
                case "desired_state":
                    # One that no heartbeat asked for is no older than the one before, nor is what it judges.
                    if self._held:
                        self._answered = self._held.popleft()
                        self._waiting_since.popleft()
                    self._listener.on_desired_state(message.desired_state, self._answered)
                case "drain":
                    self._take_drain(message.drain)
                case None | "welcome":
                    continue
                case _:
                    self._listener.on_message(message, asked=self.exchange.take(message))

    def _take_drain(self, drain: Drain) -> None:
        """Leases outlive the stream, so what is held is worked on; another replica takes the next hello."""
        self._listener.on_drain(drain)
        if drain.reconnect:
            self._pause = random.uniform(0, DRAIN_PAUSE)
            raise SessionEnded(f"the coordinator drains: {drain.reason}")
        self._pause = AWAY_PAUSE * random.uniform(0.5, 1)

    async def _next(self, call: Call) -> ConnectResponse:
        message = await call.read()
        if not isinstance(message, ConnectResponse):
            raise SessionEnded("the coordinator closed the session")
        return message

    async def _write(self, call: Call) -> None:
        while True:
            await _put(call, await self._outgoing.get())

    async def _beats(self, welcome: Welcome) -> None:
        interval = max(welcome.heartbeat_interval.ToTimedelta().total_seconds(), 0.05)
        patience = max(3 * interval, ANSWER_PATIENCE)
        next_beat = time.monotonic() + interval
        while True:
            pause = min(next_beat - time.monotonic(), 1.0)
            if pause > 0 and not self._beat.is_set():
                try:
                    async with asyncio.timeout(pause):
                        await self._beat.wait()
                except TimeoutError:
                    pass
            if self._beat.is_set() or time.monotonic() >= next_beat:
                if self._beat.is_set() and self._soon:
                    await asyncio.sleep(_DEBOUNCE)
                self._beat.clear()
                self._soon = False
                self._send_heartbeat()
                next_beat = time.monotonic() + interval
            if self._waiting_since and time.monotonic() - self._waiting_since[0] > patience:
                raise SessionEnded(f"no answer to a heartbeat for {patience:.0f} s")
            self.exchange.resend_overdue()

    def _send_heartbeat(self) -> None:
        heartbeat = self._listener.heartbeat()
        self._note_heartbeat(heartbeat)
        self.send(ConnectRequest(heartbeat=heartbeat))

    def _note_heartbeat(self, heartbeat: Heartbeat) -> None:
        self._held.append(frozenset(task.fence for task in heartbeat.held))
        self._waiting_since.append(time.monotonic())


async def _put(call: Call, message: ConnectRequest) -> None:
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        # The call has ended; its status says why, and reading tells it.
        await call.read()
        raise SessionEnded("the stream has ended") from None


async def _first_of(*loops: Coroutine[Any, Any, None]) -> None:
    """Runs loops until one ends; the others are cancelled and its error is raised."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    raise SessionEnded("the stream was cancelled")


def _translate(error: grpc.aio.AioRpcError) -> Exception:
    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED:
            return TokenVoid(describe(error))
        case grpc.StatusCode.PERMISSION_DENIED:
            return JoinRefused(f"the coordinator shuts this worker out: {describe(error)}")
        case _:
            return SessionEnded(describe(error))
