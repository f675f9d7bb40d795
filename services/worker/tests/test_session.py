"""The session against a protocol peer: what is repeated, what is judged, what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from trainnet.v1.worker_pb2 import (
    OUTCOME_RECEIVED,
    OUTCOME_STALE_FENCE,
    Accept,
    Capabilities,
    Complete,
    ConnectRequest,
    ConnectResponse,
    DesiredState,
    Drain,
    Fail,
    Heartbeat,
    HeldTask,
    Hello,
    Lease,
    Result,
    UploadGranted,
    UploadRequest,
    Welcome,
)
from trainnet.worker.agent import exchange as exchanges
from trainnet.worker.agent import session as sessions
from trainnet.worker.agent.exchange import Exchange
from trainnet.worker.agent.session import Session, TokenVoid
from trainnet.worker.errors import JoinRefused


class Recorder:
    """A listener whose held fences a test sets."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.welcomes = 0
        self.desired: list[tuple[list[int], frozenset[int]]] = []
        self.messages: list[tuple[ConnectResponse, bool]] = []
        self.drains: list[Drain] = []
        self.disconnects = 0

    def hello(self) -> Hello:
        return Hello(
            worker="workers/w1", incarnation="i" * 16, capabilities=Capabilities(slots=1), state=self.heartbeat()
        )

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(held=[HeldTask(fence=fence) for fence in self.held])

    def on_welcome(self, welcome: Welcome) -> None:
        self.welcomes += 1

    def on_desired_state(self, desired: DesiredState, held: frozenset[int]) -> None:
        self.desired.append((list(desired.leases), held))

    def on_message(self, message: ConnectResponse, *, asked: bool) -> None:
        self.messages.append((message, asked))

    def on_drain(self, drain: Drain) -> None:
        self.drains.append(drain)

    def on_disconnect(self) -> None:
        self.disconnects += 1


class Connected:
    def __init__(self, session: Session, recorder: Recorder, running: asyncio.Task[None]) -> None:
        self.session, self.recorder, self.running = session, recorder, running


@pytest.fixture
async def connected(peer: Any) -> AsyncIterator[Connected]:
    recorder = Recorder()
    session = Session(peer.address, recorder)
    session.use("workers/w1", peer.valid_token)
    running = asyncio.create_task(session.run())
    yield Connected(session, recorder, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_hello_first_then_heartbeats_at_the_interval(connected: Connected, peer: Any, eventually: Any) -> None:
    connected.recorder.held = [7]
    await eventually(lambda: len(peer.of("heartbeat")) >= 3)
    assert peer.hellos[0].worker == "workers/w1"
    assert len(connected.recorder.desired) >= 2
    assert len(peer.hellos) == 1


async def test_a_desired_state_is_judged_by_the_heartbeat_it_answers(
    connected: Connected, peer: Any, eventually: Any
) -> None:
    await eventually(lambda: connected.recorder.welcomes)
    peer.silent = {"heartbeat"}
    connected.session.beat()
    await eventually(lambda: peer.of("heartbeat"))
    seen = len(connected.recorder.desired)
    # The lease comes after the heartbeat was sent and before its answer, which does not know the lease.
    connected.recorder.held = [5]
    await peer.say(desired_state=DesiredState())
    await eventually(lambda: len(connected.recorder.desired) > seen)
    assert all(5 not in held for _, held in connected.recorder.desired)
    # The answer to a heartbeat that named it may judge it.
    peer.silent = set()
    peer.leases = [9]
    await eventually(lambda: any(leases == [9] and 5 in held for leases, held in connected.recorder.desired))


async def test_what_has_no_answer_is_asked_again_on_the_next_stream(
    connected: Connected, peer: Any, eventually: Any
) -> None:
    peer.silent = {"accept", "complete", "fail"}
    await eventually(lambda: connected.recorder.welcomes)
    ask = connected.session.exchange.ask
    asked = [
        asyncio.create_task(ask(message))
        for message in (
            ConnectRequest(accept=Accept(fence=1)),
            ConnectRequest(complete=Complete(fence=2)),
            ConnectRequest(fail=Fail(fence=3)),
        )
    ]
    await eventually(lambda: len(peer.of("fail")) == 1)
    await peer.stop()
    await eventually(lambda: connected.recorder.disconnects)
    assert not connected.session.connected
    peer.silent = set()
    peer.leases, peer.tasks = [1], {1: Lease(fence=1)}
    await peer.start()
    answers = await asyncio.gather(*asked)
    assert [answer.WhichOneof("message") for answer in answers] == ["lease", "result", "result"]
    assert len(peer.hellos) == 2
    assert [kind for kind in peer.kinds() if kind != "heartbeat"] == ["accept", "complete", "fail"] * 2


async def test_what_has_no_answer_for_long_is_asked_again_on_the_same_stream(
    connected: Connected, peer: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "FIRST_PATIENCE", 0.05)
    peer.silent = {"fail"}
    await eventually(lambda: connected.recorder.welcomes)
    asked = asyncio.create_task(connected.session.exchange.ask(ConnectRequest(fail=Fail(fence=3))))
    await eventually(lambda: len(peer.of("fail")) >= 2)
    peer.silent = set()
    await asked
    assert len(peer.hellos) == 1


async def test_a_coordinator_that_answers_no_heartbeat_is_left(
    connected: Connected, peer: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainnet.worker.agent.session.ANSWER_PATIENCE", 0.3)
    peer.silent = {"heartbeat"}
    await eventually(lambda: len(peer.hellos) >= 2)
    assert connected.recorder.disconnects


async def test_unknown_messages_are_ignored(connected: Connected, peer: Any, eventually: Any) -> None:
    await eventually(lambda: connected.recorder.welcomes)
    await peer.contexts[-1].write(ConnectResponse.FromString(b"\xfa\x01\x02hi"))
    await peer.say(result=Result(fence=1, outcome=OUTCOME_RECEIVED))
    await eventually(lambda: connected.recorder.messages)
    assert len(peer.hellos) == 1


async def test_a_draining_replica_is_left_for_another(
    connected: Connected, peer: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainnet.worker.agent.session.DRAIN_PAUSE", 0.01)
    await eventually(lambda: connected.recorder.welcomes)
    await peer.say(drain=Drain(reconnect=True, reason="update"))
    await eventually(lambda: len(peer.hellos) == 2)
    assert connected.recorder.drains[0].reason == "update"


async def test_a_void_token_ends_it(peer: Any) -> None:
    session = Session(peer.address, Recorder())
    session.use("workers/w1", "another")
    with pytest.raises(TokenVoid, match="unknown worker token"):
        await asyncio.wait_for(session.run(), 10)


async def test_a_banned_worker_stops(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_iterator: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "banned: sent poison")

    await peer.stop()
    monkeypatch.setattr(peer, "Connect", refuse)
    await peer.start()
    session = Session(peer.address, Recorder())
    with pytest.raises(JoinRefused, match="banned: sent poison"):
        await asyncio.wait_for(session.run(), 10)


async def test_a_worker_over_a_limit_comes_back_later(
    peer: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "DRAIN_PAUSE", 0.2)
    welcome, refused = peer.Connect, 0

    async def refuse_twice(iterator: Any, context: Any) -> None:
        nonlocal refused
        if refused < 2:
            refused += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many hellos")
        await welcome(iterator, context)

    await peer.stop()
    monkeypatch.setattr(peer, "Connect", refuse_twice)
    await peer.start()
    recorder = Recorder()
    session = Session(peer.address, recorder)
    session.use("workers/w1", peer.valid_token)
    running = asyncio.create_task(session.run())
    await eventually(lambda: recorder.welcomes == 1)
    assert refused == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_answers_find_their_questions(eventually: Any) -> None:
    sent: list[ConnectRequest] = []
    exchange = Exchange(sent.append)
    uploads = [
        asyncio.create_task(exchange.ask(ConnectRequest(upload_request=UploadRequest(fence=1, output=name))))
        for name in ("shard-0", "shard-1")
    ]
    complete = asyncio.create_task(exchange.ask(ConnectRequest(complete=Complete(fence=2))))
    await eventually(lambda: len(sent) == 3)
    assert not exchange.take(ConnectResponse(upload_grant=UploadGranted(fence=2, output="shard-0")))
    assert exchange.take(ConnectResponse(upload_grant=UploadGranted(fence=1, output="shard-1")))
    assert (await uploads[1]).upload_grant.output == "shard-1"
    assert not exchange.take(ConnectResponse(result=Result(fence=1, outcome=OUTCOME_RECEIVED)))
    assert exchange.take(ConnectResponse(result=Result(fence=1, outcome=OUTCOME_STALE_FENCE)))
    assert (await uploads[0]).result.outcome == OUTCOME_STALE_FENCE
    assert exchange.take(ConnectResponse(result=Result(fence=2, outcome=OUTCOME_RECEIVED)))
    await complete
    assert not exchange.take(ConnectResponse(result=Result(fence=2, outcome=OUTCOME_RECEIVED)))
