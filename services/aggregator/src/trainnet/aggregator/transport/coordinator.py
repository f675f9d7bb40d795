"""Calls to the coordinator's MergeService: with the token, with deadlines, repeated while it is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from trainnet.runtime.errors import WireError, describe
from trainnet.runtime.keepalive import CLIENT_OPTIONS
from trainnet.runtime.log import get_logger
from trainnet.v1 import merge_pb2_grpc
from trainnet.v1.job_pb2 import Weighing
from trainnet.v1.merge_pb2 import (
    ClaimRequest,
    MergeTask,
    RenewClaimsRequest,
    ReportCheckRequest,
    ReportFailureRequest,
    ReportMergeRequest,
    ReportSumRequest,
    ReportWeighingsRequest,
)
from trainnet.v1.task_pb2 import TaskKind

Report = ReportCheckRequest | ReportSumRequest | ReportMergeRequest | ReportFailureRequest
T = TypeVar("T")

_CALL_SECONDS = 10.0
_FIRST_DELAY, _MAX_DELAY = 0.05, 2.0
# What passes when the coordinator is back or less busy. CANCELLED is what a server that is being killed answers.
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_OPTIONS = [
    *CLIENT_OPTIONS,
    # gRPC's own reconnect pause grows to two minutes; ours decides.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
]


class RefusedError(Exception):
    """The coordinator said no for good."""

    def __init__(self, what: str, error: WireError) -> None:
        self.error = error
        super().__init__(f"{what}: {error.code.name} {error.reason} {error.message}".rstrip())


def jittered(attempt: int) -> float:
    """Seconds to wait before another try: full jitter below a bound that doubles from 0.05 to 2."""
    return random.uniform(0.0, min(_MAX_DELAY, _FIRST_DELAY * 2 ** min(attempt, 16)))


class Coordinator:
    """One channel; an async context manager."""

    def __init__(self, address: str, token: str, name: str) -> None:
        self._address, self._name = address, name
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._log = get_logger(__name__)

    async def __aenter__(self) -> Coordinator:
        self._channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        self._stub = merge_pb2_grpc.MergeServiceStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def claim(self, kinds: Sequence[TaskKind], max_tasks: int, wait: timedelta) -> list[MergeTask]:
        """Claims tasks; waits for the first up to `wait`, and for the coordinator as long as it takes.

        Raises RefusedError.
        """
        request = ClaimRequest(aggregator=self._name, kinds=kinds, max_tasks=max_tasks)
        held = Duration()
        held.FromTimedelta(wait)
        request.wait.CopyFrom(held)
        deadline = wait.total_seconds() + _CALL_SECONDS
        answer = await self._call("Claim", lambda: self._stub.Claim(request, **self._with(deadline)))
        return list(answer.tasks)

    async def renew(self, fences: Sequence[int]) -> set[int]:
        """The fences that are still live. Raises RefusedError."""
        request = RenewClaimsRequest(fences=fences)
        answer = await self._call("RenewClaims", lambda: self._stub.RenewClaims(request, **self._with()))
        return set(answer.live)

    async def report_weighings(self, fence: int, weighings: Sequence[Weighing]) -> list[Weighing]:
        """What counts of each update: what was reported first. Raises RefusedError (FAILED_PRECONDITION for a stale
        fence)."""
        request = ReportWeighingsRequest(fence=fence, weighings=weighings)
        answer = await self._call("ReportWeighings", lambda: self._stub.ReportWeighings(request, **self._with()))
        return list(answer.weighings)

    async def report(self, report: Report) -> None:
        """Answers a task; repeated until it was heard. Raises RefusedError (FAILED_PRECONDITION for a stale fence)."""
        call: Any
        match report:
            case ReportCheckRequest():
                call = self._stub.ReportCheck
            case ReportSumRequest():
                call = self._stub.ReportSum
            case ReportMergeRequest():
                call = self._stub.ReportMerge
            case _:
                call = self._stub.ReportFailure
        await self._call(type(report).__name__.removesuffix("Request"), lambda: call(report, **self._with()))

    def _with(self, timeout: float = _CALL_SECONDS) -> dict[str, Any]:
        return {"timeout": timeout, "metadata": self._metadata, "wait_for_ready": False}

    async def _call(self, what: str, send: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                answer = await send()
            except grpc.aio.AioRpcError as raised:
                error = describe(raised)
                if error.code not in _PASSING:
                    raise RefusedError(what, error) from None
                if attempt in (0, 6):
                    self._log.warning(
                        "coordinator away, retrying", call=what, code=error.code.name, error=error.message
                    )
                await asyncio.sleep(jittered(attempt))
                attempt += 1
            else:
                if attempt > 6:
                    self._log.info("coordinator is back", call=what)
                return answer
