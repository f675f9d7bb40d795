"""Becoming a worker: a join token for an identity of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import structlog

from trainnet.v1.worker_pb2 import RegisterRequest
from trainnet.v1.worker_pb2_grpc import WorkerServiceStub
from trainnet.worker.agent.backoff import Backoff
from trainnet.worker.agent.channel import describe, open_channel
from trainnet.worker.agent.storage import AgentFolder, Identity
from trainnet.worker.errors import AgentError, CoordinatorUnreachable, JoinRefused
from trainnet.worker.settings import WorkerSettings

_DEADLINE = 10.0


async def register(
    settings: WorkerSettings, folder: AgentFolder, identity: Identity, *, patience: float | None
) -> Identity:
    """Registers and keeps the identity. A repeat with the same request id is the same worker with a fresh token.

    While nobody answers it tries for `patience` seconds (None: for ever). Raises JoinRefused, CoordinatorUnreachable.
    """
    log = structlog.get_logger(__name__)
    if settings.join_token is None:
        raise JoinRefused(
            "this machine has not joined yet: give the operator's join token with --token or TRAINNET_JOIN_TOKEN"
        )
    request = RegisterRequest(
        request_id=identity.request_id,
        join_token=settings.join_token.get_secret_value(),
        display_name=settings.name,
    )
    backoff = Backoff(0.2, 5.0)
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience if patience is not None else None
    warned = False
    while True:
        async with open_channel(settings.coordinator) as channel:
            try:
                answer = await WorkerServiceStub(channel).Register(request, timeout=_DEADLINE)
            except grpc.aio.AioRpcError as error:
                _raise_if_final(error, settings.coordinator)
                if give_up is not None and loop.time() >= give_up:
                    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                        raise CoordinatorUnreachable(
                            f"the coordinator at {settings.coordinator} takes no more workers now "
                            f"({describe(error)}); try again later"
                        ) from error
                    raise CoordinatorUnreachable(
                        f"no coordinator answers at {settings.coordinator} ({describe(error)}); check the address"
                    ) from error
                if not warned:
                    log.warning("coordinator not reachable, trying on", coordinator=settings.coordinator)
                    warned = True
            else:
                joined = replace(
                    identity,
                    coordinator=settings.coordinator,
                    worker=answer.worker,
                    token=answer.worker_token,
                    pool=int(answer.pool),
                )
                folder.save_identity(joined)
                log.info("registered", worker=joined.worker, coordinator=settings.coordinator)
                return joined
        await backoff.pause()


def _raise_if_final(error: grpc.aio.AioRpcError, address: str) -> None:
    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            raise JoinRefused(f"the coordinator refuses the join token: {describe(error)}") from error
        case grpc.StatusCode.INVALID_ARGUMENT:
            raise AgentError(f"the coordinator refuses the registration: {describe(error)}") from error
        case grpc.StatusCode.UNIMPLEMENTED:
            raise CoordinatorUnreachable(f"{address} is no TrainNet coordinator; check the address") from error
        case _:
            return
