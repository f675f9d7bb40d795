"""The gRPC server and its interceptors, over real connections, for all four kinds of call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from trainnet.runtime import interceptors
from trainnet.runtime.errors import (
    Aborted,
    FieldViolation,
    InvalidArgument,
    NotFound,
    TrainNetError,
    Unavailable,
    describe,
)
from trainnet.runtime.keepalive import CLIENT_OPTIONS
from trainnet.runtime.lifecycle import StartupError
from trainnet.runtime.server import GrpcServer
from trainnet.v1._imports.buf.validate import validate_pb2

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
SERVICE = "trainnet.runtime.test.Probe"


def _message_type() -> Any:
    """message Probe { string name = 1; repeated string tags = 2; } where no string may be empty."""
    file = descriptor_pb2.FileDescriptorProto(
        name="trainnet/runtime/test/probe.proto",
        package="trainnet.runtime.test",
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    message = file.message_type.add(name="Probe")
    field = descriptor_pb2.FieldDescriptorProto
    name = message.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    rules: Any = validate_pb2.field
    name.options.Extensions[rules].string.min_len = 1
    tags = message.field.add(name="tags", number=2, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    tags.options.Extensions[rules].repeated.items.string.min_len = 1
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("trainnet.runtime.test.Probe"))


Probe = _message_type()


class ShardGone(NotFound):
    """The shard is gone."""

    reason = "SHARD_GONE"


class Servicer:
    """Answers with the names it got; a name that starts with "!" makes it fail."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.closed = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def react(self, name: str, context: Any) -> Any:
        match name:
            case "!gone":
                raise ShardGone(metadata={"shard": "7"})
            case "!bug":
                raise ValueError("the password is hush-hush")
            case "!abort":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by hand")
            case "!group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.react("!gone", context))
            case "!wait":
                self.entered.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
        return Probe(name=name)

    async def unary_unary(self, request: Any, context: Any) -> Any:
        return await self.react(request.name, context)

    async def unary_stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            yield Probe(name="first")
            yield await self.react(request.name, context)
        finally:
            self.closed.set()

    async def stream_unary(self, requests: AsyncIterator[Any], context: Any) -> Any:
        names = [(await self.react(request.name, context)).name async for request in requests]
        return Probe(name=",".join(names))

    async def stream_stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Not a generator: writes to the context."""
        async for request in requests:
            await context.write(await self.react(request.name, context))

    def register(self, server: Any) -> None:
        handlers = {
            kind: getattr(grpc, f"{kind}_rpc_method_handler")(
                getattr(self, kind),
                request_deserializer=Probe.FromString,
                response_serializer=Probe.SerializeToString,
            )
            for kind in KINDS
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def server(servicer: Servicer) -> AsyncIterator[GrpcServer]:
    structlog.reset_defaults()
    server = GrpcServer("127.0.0.1:0", interceptors=interceptors.standard())
    server.add(servicer.register, SERVICE)
    async with server:
        yield server


@pytest.fixture
async def channel(server: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=CLIENT_OPTIONS) as channel:
        yield channel


def invoke(channel: grpc.aio.Channel, kind: str, *messages: Any) -> Any:
    method = getattr(channel, kind)(
        f"/{SERVICE}/{kind}", request_serializer=Probe.SerializeToString, response_deserializer=Probe.FromString
    )
    return method(iter(messages) if kind.startswith("stream") else messages[0], timeout=20)


async def call(channel: grpc.aio.Channel, kind: str, *messages: Any) -> list[str]:
    running = invoke(channel, kind, *messages)
    if kind.endswith("stream"):
        return [answer.name async for answer in running]
    return [(await running).name]


async def failure(channel: grpc.aio.Channel, kind: str, *messages: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, kind, *messages)
    return describe(caught.value)


async def test_all_kinds_answer(channel: grpc.aio.Channel) -> None:
    a, b = Probe(name="a"), Probe(name="b")
    assert await call(channel, "unary_unary", a) == ["a"]
    assert await call(channel, "unary_stream", a) == ["first", "a"]
    assert await call(channel, "stream_unary", a, b) == ["a,b"]
    assert await call(channel, "stream_stream", a, b) == ["a", "b"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["!gone", "!group"])
async def test_an_error_arrives_with_its_reason(channel: grpc.aio.Channel, kind: str, name: str) -> None:
    error = await failure(channel, kind, Probe(name=name))
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.message == "The shard is gone."
    assert error.reason == "SHARD_GONE"
    assert error.metadata == {"shard": "7"}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unexpected_error_tells_nothing_but_an_id(channel: grpc.aio.Channel, kind: str) -> None:
    with capture_logs() as logs:
        error = await failure(channel, kind, Probe(name="!bug"))
    assert error.code is grpc.StatusCode.INTERNAL
    assert re.fullmatch("internal error [0-9a-f]{12}", error.message)
    (logged,) = [entry for entry in logs if entry["event"] == "unexpected error"]
    assert logged["error_id"] == error.metadata["error_id"]
    assert "hush-hush" in str(logged["exc_info"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hand_made_abort_passes(channel: grpc.aio.Channel, kind: str) -> None:
    error = await failure(channel, kind, Probe(name="!abort"))
    assert (error.code, error.message, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "by hand", "")


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_are_validated(channel: grpc.aio.Channel, kind: str) -> None:
    error = await failure(channel, kind, Probe(tags=["ok", ""]))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {violation.field for violation in error.violations} == {"name", "tags[1]"}
    assert "tags[1]: " in error.message


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
async def test_later_messages_of_a_stream_are_validated_too(channel: grpc.aio.Channel, kind: str) -> None:
    error = await failure(channel, kind, Probe(name="ok"), Probe())
    assert [violation.field for violation in error.violations] == ["name"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_call_reaches_the_servicer(channel: grpc.aio.Channel, servicer: Servicer, kind: str) -> None:
    running = invoke(channel, kind, Probe(name="!wait"))
    async with asyncio.timeout(20):
        await servicer.entered.wait()
        running.cancel()
        await servicer.cancelled.wait()
        if kind == "unary_stream":
            await servicer.closed.wait()


async def test_calls_are_logged(channel: grpc.aio.Channel) -> None:
    with capture_logs() as logs:
        await call(channel, "unary_unary", Probe(name="a"))
        await failure(channel, "unary_unary", Probe(name="!gone"))
        await failure(channel, "unary_unary", Probe(name="!bug"))
    seen = [(entry["event"], entry["log_level"], entry["code"]) for entry in logs if "seconds" in entry]
    assert seen == [("call", "debug", "OK"), ("call", "debug", "NOT_FOUND"), ("call failed", "warning", "INTERNAL")]


async def test_health_and_reflection_know_the_services(server: GrpcServer, channel: grpc.aio.Channel) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    health: Any = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
    stream = stub.ServerReflectionInfo(requests, timeout=20)
    names = [service.name async for answer in stream for service in answer.list_services_response.service]
    assert SERVICE in names


async def test_drain_says_not_serving_lets_calls_finish_and_cancels_the_rest(
    server: GrpcServer, servicer: Servicer, channel: grpc.aio.Channel
) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    running = invoke(channel, "unary_unary", Probe(name="!wait"))
    await servicer.entered.wait()
    draining = asyncio.create_task(server.drain(0.3))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not servicer.cancelled.is_set()
    with pytest.raises(grpc.aio.AioRpcError):
        await running
    await draining
    async with asyncio.timeout(20):
        await servicer.cancelled.wait()
    await server.drain()


async def test_two_servers_do_not_share_a_port(server: GrpcServer) -> None:
    second = GrpcServer(f"127.0.0.1:{server.port}")
    with pytest.raises(StartupError, match="cannot listen on"):
        await second.start()
    with pytest.raises(RuntimeError, match="before the server starts"):
        server.add(lambda _: None, "late")


async def test_messages_have_a_limit(servicer: Servicer) -> None:
    server = GrpcServer("127.0.0.1:0", max_message_bytes=1000)
    server.add(servicer.register, SERVICE)
    async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        error = await failure(channel, "unary_unary", Probe(name="x" * 2000))
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("make", "reason", "message"),
    [
        (Unavailable, "UNAVAILABLE", "The service cannot answer now; try again."),
        (lambda: Aborted("raced", reason="STALE"), "STALE", "raced"),
        (ShardGone, "SHARD_GONE", "The shard is gone."),
    ],
)
def test_the_docstring_is_the_message(make: Callable[[], TrainNetError], reason: str, message: str) -> None:
    error = make()
    assert (error.reason, error.message, str(error)) == (reason, message, message)
    assert Aborted.reason == "ABORTED"


def test_an_invalid_argument_names_its_fields() -> None:
    error = InvalidArgument("must be positive", field="rounds", violations=[FieldViolation("lr", "too large")])
    assert error.violations == (FieldViolation("rounds", "must be positive"), FieldViolation("lr", "too large"))
