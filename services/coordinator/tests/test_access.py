"""Who may call what, on gRPC and on NATS."""

import asyncio
import secrets
from typing import Any

import grpc
import nats.errors
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.support import PATIENCE, noop_spec, refused, until
from trainnet.coordinator.transport.auth import ALLOWED, Role, allowed
from trainnet.v1 import (
    catalog_pb2,
    dataset_pb2,
    events_pb2,
    job_pb2,
    job_pb2_grpc,
    merge_pb2,
    merge_pb2_grpc,
    model_pb2,
    operator_pb2,
    worker_pb2,
    worker_pb2_grpc,
)

CONTRACT = [
    service
    for file in (catalog_pb2, dataset_pb2, job_pb2, merge_pb2, model_pb2, operator_pb2, worker_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]


def test_every_method_of_the_contract_has_its_callers() -> None:
    for service in CONTRACT:
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            known = service.full_name in ALLOWED or path[1:] in ALLOWED
            assert known, path
            roles = allowed(path)
            assert roles is None or len(roles) == 1, path


def test_what_the_table_does_not_know_is_denied() -> None:
    for path in ("/trainnet.v1.JobService2/GetJob", "/trainnet.v1.WorkerService/Other", "/x", ""):
        assert allowed(path) == frozenset()
    assert allowed("/trainnet.v1.WorkerService/Connect") == frozenset({Role.WORKER})


async def test_tokens_open_their_own_services_only(coordinator: Coordinator) -> None:
    worker = (await coordinator.register()).worker_token
    get, claim = job_pb2.GetJobRequest(name="bad name"), merge_pb2.ClaimRequest()
    admin, aggregator = coordinator.secrets.admin_token, coordinator.secrets.aggregator_token
    for token, code, reason in [
        ("", grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN"),
        ("wrong", grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_TOKEN"),
        (worker, grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
        (aggregator, grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
    ]:
        async with refused(code, reason):  # before the request itself is looked at
            await job_pb2_grpc.JobServiceStub(coordinator.channel(token)).GetJob(get)
    for token in (worker, admin):
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
            await merge_pb2_grpc.MergeServiceStub(coordinator.channel(token)).Claim(claim)
    for token in (admin, aggregator):
        call = worker_pb2_grpc.WorkerServiceStub(coordinator.channel()).Connect(
            metadata=(("authorization", f"Bearer {token}"),)
        )
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
            await call.read()


async def test_health_and_unknown_methods(coordinator: Coordinator) -> None:
    channel = coordinator.channel()
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    async with refused(grpc.StatusCode.UNIMPLEMENTED):
        call: Any = channel.unary_unary("/trainnet.v1.JobService/Other")
        await call(b"")


async def test_join_tokens_are_used_up_and_expire(coordinator: Coordinator) -> None:
    async def token(**fields: object) -> str:
        request = operator_pb2.CreateJoinTokenRequest(pool=job_pb2.POOL_PUBLIC, **fields)  # type: ignore[arg-type]
        made: operator_pb2.CreateJoinTokenResponse = await coordinator.operator.CreateJoinToken(request)
        return made.token

    once, request_id = await token(max_uses=1), secrets.token_hex(16)
    first = await coordinator.register("ada", once, request_id)
    assert first.pool == job_pb2.POOL_PUBLIC
    again = await coordinator.register("ada", once, request_id)
    assert again.worker == first.worker
    assert again.worker_token != first.worker_token
    for bad in (once, "made-up", await token(ttl=Duration(seconds=-1))):
        async with refused(grpc.StatusCode.UNAUTHENTICATED, "BAD_JOIN_TOKEN") as found:
            await coordinator.register("bob", bad)
        assert "ask the operator for a new one" in found[0].message
    # The first token is void: a repeat gave a fresh one. The pool stays that of the first token.
    elsewhere = await coordinator.register("ada", request_id=request_id)
    assert elsewhere.pool == job_pb2.POOL_PUBLIC


async def connected(coordinator: Coordinator, token: str, errors: list[str] | None = None) -> Client:
    client = Client()

    async def failed(error: Exception) -> None:
        if errors is not None:
            errors.append(str(error).lower())

    options = {"allow_reconnect": False, "connect_timeout": 5, "error_cb": failed, "inbox_prefix": b"_INBOX.test"}
    try:
        await client.connect(coordinator.nats_url, token=token, **options)  # type: ignore[arg-type]
    except BaseException:
        await client.close()
        raise
    return client


async def test_a_worker_hears_its_own_assignments_and_nothing_else(coordinator: Coordinator) -> None:
    worker = await coordinator.worker()
    errors: list[str] = []
    client = await connected(coordinator, worker.token, errors)
    assert worker.welcome.nats.subject == f"trainnet.v1.assignments.{worker.id}"
    assert worker.welcome.nats.url == coordinator.nats_url
    doorbell = await client.subscribe(worker.welcome.nats.subject)
    await client.flush()
    await coordinator.create(noop_spec())
    message = await doorbell.next_msg(timeout=PATIENCE)
    rung = events_pb2.TaskAssigned.FromString(message.data)
    assert rung.worker == worker.name
    assert (await worker.accept(rung.fence)).fence == rung.fence
    assert errors == []

    forbidden = ["trainnet.v1.assignments.>", "trainnet.v1.assignments.other", "trainnet.v1.events.>", "_INBOX.>", ">"]
    for subject in forbidden:
        await client.subscribe(subject)
    for subject in (worker.welcome.nats.subject, "trainnet.v1.events.x.y", "$JS.API.INFO", "$JS.ACK.x"):
        await client.publish(subject, b"")
    await client.flush()

    async def all_refused() -> bool:
        return len(errors) >= len(forbidden) + 4

    await until(all_refused, "refusals")
    assert all("permissions violation" in error for error in errors)
    assert sum("subscription" in error for error in errors) == len(forbidden)
    assert sum("publish" in error for error in errors) == 4
    await client.close()


async def test_strangers_and_the_banned_do_not_get_into_nats(coordinator: Coordinator) -> None:
    worker = await coordinator.worker()
    await (await connected(coordinator, worker.token)).close()
    await coordinator.operator.BanWorker(operator_pb2.BanWorkerRequest(name=worker.name))
    for token in ("wrong", worker.token, coordinator.secrets.admin_token):
        with pytest.raises((nats.errors.Error, OSError)):
            await connected(coordinator, token)


async def test_a_banned_worker_is_shut_out_and_its_shard_goes_to_another(coordinator: Coordinator) -> None:
    worker = await coordinator.worker("ada")
    await coordinator.create(noop_spec())
    held = await worker.take()
    banned = await coordinator.operator.BanWorker(operator_pb2.BanWorkerRequest(name=worker.name))
    assert banned.worker.banned
    assert list(banned.worker.fences) == []
    await worker.hear("cancel", held.fence)
    drain = await worker.hear("drain")
    assert not drain.drain.reconnect
    assert await worker.ended() is None
    async with refused(grpc.StatusCode.PERMISSION_DENIED, "BANNED"):
        peer = worker_pb2_grpc.WorkerServiceStub(coordinator.channel()).Connect(
            metadata=(("authorization", f"Bearer {worker.token}"),)
        )
        await peer.read()
    other = await coordinator.worker("bob")
    assert (await other.take()).kind == held.kind


async def test_a_drained_worker_gets_nothing_until_it_is_wanted_again(coordinator: Coordinator) -> None:
    worker = await coordinator.worker()
    await coordinator.operator.DrainWorker(operator_pb2.DrainWorkerRequest(name=worker.name))
    await coordinator.create(noop_spec())
    queues = await coordinator.operator.GetQueues(operator_pb2.GetQueuesRequest())
    assert (queues.sessions, queues.free_slots) == (1, 0)
    assert list((await worker.heartbeat()).assignments) == []
    await coordinator.operator.DrainWorker(operator_pb2.DrainWorkerRequest(name=worker.name, undo=True))
    await asyncio.wait_for(worker.assigned(), PATIENCE)
