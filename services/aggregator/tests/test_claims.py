"""The claims loop against a scripted coordinator: a real gRPC server whose queue and answers the test holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from trainnet.aggregator.engine import Agree
from trainnet.aggregator.errors import Cancelled, Unmergeable
from trainnet.aggregator.transport.claims import Claims
from trainnet.aggregator.transport.coordinator import Coordinator, RefusedError
from trainnet.runtime.errors import FailedPrecondition, InvalidArgument, Unauthenticated
from trainnet.runtime.interceptors import standard
from trainnet.runtime.store import StoreUnavailable
from trainnet.v1 import merge_pb2, merge_pb2_grpc
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.job_pb2 import Weighing
from trainnet.v1.merge_pb2 import (
    CheckWork,
    MergeTask,
    MergeWork,
    ReportCheckRequest,
    ReportFailureRequest,
    ReportMergeRequest,
)
from trainnet.v1.task_pb2 import TASK_KIND_CHECK, TASK_KIND_MERGE

TOKEN = "secret"


class Peer(merge_pb2_grpc.MergeServiceServicer):
    """Gives out what the test queues and keeps what is reported."""

    def __init__(self) -> None:
        self.queue: list[MergeTask] = []
        self.reports: list[Any] = []
        self.claims: list[merge_pb2.ClaimRequest] = []
        self.live: set[int] | None = None
        self.stale: set[int] = set()
        self.token = TOKEN
        self.away: asyncio.Event | None = None
        self.changed = asyncio.Condition()

    async def give(self, *tasks: MergeTask) -> None:
        async with self.changed:
            self.queue += tasks
            self.changed.notify_all()

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(what)

    async def Claim(self, request: Any, context: Any) -> Any:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {self.token}":
            raise Unauthenticated("no such token")

        def mine() -> list[MergeTask]:
            kinds = {"check": TASK_KIND_CHECK, "merge": TASK_KIND_MERGE}
            return [task for task in self.queue if kinds[str(task.WhichOneof("work"))] in request.kinds]

        async with self.changed:
            self.claims.append(request)
            self.changed.notify_all()
            try:
                async with asyncio.timeout(request.wait.ToTimedelta().total_seconds()):
                    await self.changed.wait_for(mine)
            except TimeoutError:
                pass
            taken = mine()[: request.max_tasks]
            self.queue = [task for task in self.queue if task not in taken]
            return merge_pb2.ClaimResponse(tasks=taken)

    async def RenewClaims(self, request: Any, context: Any) -> Any:  # noqa: N802
        live = set(request.fences) if self.live is None else self.live & set(request.fences)
        return merge_pb2.RenewClaimsResponse(live=live)

    async def _report(self, request: Any) -> None:
        async with self.changed:
            self.reports.append(request)
            self.changed.notify_all()
        if request.fence in self.stale:
            raise FailedPrecondition("not live", reason="STALE_FENCE")

    async def ReportCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._report(request)
        return merge_pb2.ReportCheckResponse()

    async def ReportSum(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._report(request)
        return merge_pb2.ReportSumResponse()

    async def ReportMerge(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._report(request)
        return merge_pb2.ReportMergeResponse()

    async def ReportWeighings(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.away is not None:
            await self.away.wait()
        if request.fence in self.stale:
            raise FailedPrecondition("not live", reason="STALE_FENCE")
        if not request.weighings[0].shard:
            raise InvalidArgument("shard 0 is not in the round")
        return merge_pb2.ReportWeighingsResponse(weighings=[Weighing(shard=1, factor=0.25)])

    async def ReportFailure(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._report(request)
        return merge_pb2.ReportFailureResponse()


def check(fence: int, ttl: float = 30.0) -> MergeTask:
    return MergeTask(fence=fence, ttl=seconds(ttl), check=CheckWork())


def merge(fence: int, ttl: float = 30.0) -> MergeTask:
    return MergeTask(fence=fence, ttl=seconds(ttl), merge=MergeWork())


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=int((value % 1) * 1e9))


@asynccontextmanager
async def serving(peer: Peer, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=standard())
    merge_pb2_grpc.add_MergeServiceServicer_to_server(peer, server)
    port = server.add_insecure_port(listen)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def claiming(
    address: str, do: Callable[[MergeTask, threading.Event, Agree], Any]
) -> AsyncIterator[asyncio.Event]:
    """The loop under test; setting the event stops it, and so does the end of the block."""
    stop, ready = asyncio.Event(), asyncio.Event()
    async with Coordinator(address, TOKEN, "aggregator-1") as coordinator:
        claims = Claims(coordinator, do, checks=4, on_ready=ready.set)
        running = asyncio.create_task(claims.run(stop))
        try:
            async with asyncio.timeout(20):
                await ready.wait()
                yield stop
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await running


def accept(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
    if task.WhichOneof("work") == "check":
        return ReportCheckRequest(fence=task.fence, accepted=True)
    return ReportMergeRequest(fence=task.fence, merged=Artifact(key="merged"), sha256="0" * 64)


def fences(peer: Peer) -> list[int]:
    return [report.fence for report in peer.reports]


async def test_work_is_done_and_reported_while_the_next_claim_is_held() -> None:
    peer = Peer()
    async with serving(peer) as address, claiming(address, accept):
        await peer.give(check(1), check(2))
        await peer.until(lambda: sorted(fences(peer)) == [1, 2])
        await peer.give(merge(3))
        await peer.until(lambda: 3 in fences(peer))
        await peer.until(lambda: len(peer.claims) >= 5)
    immediate = [claim for claim in peer.claims if not claim.wait.ToTimedelta()]
    assert len(immediate) == 1, "only the first one, which tells that we are ready"


async def test_a_merge_does_not_hold_up_checks_and_four_run_side_by_side() -> None:
    peer = Peer()
    together, merged = threading.Barrier(4), threading.Event()

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        if task.WhichOneof("work") == "merge":
            assert merged.wait(20)
        else:
            together.wait(20)
        return accept(task, cancel, agree)

    async with serving(peer) as address, claiming(address, do):
        await peer.give(merge(1), merge(2))
        await peer.until(lambda: len(peer.queue) == 1)
        await peer.give(*[check(fence) for fence in range(10, 14)])
        await peer.until(lambda: set(fences(peer)) >= {10, 11, 12, 13})
        assert len(peer.queue) == 1, "one merge at a time"
        merged.set()
        await peer.until(lambda: set(fences(peer)) >= {1, 2})


async def test_a_claim_that_is_lost_stops_its_work_and_reports_nothing() -> None:
    peer = Peer()
    stopped = threading.Event()

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        if task.fence == 2:
            return accept(task, cancel, agree)
        assert cancel.wait(20)
        stopped.set()
        raise Cancelled

    async with serving(peer) as address, claiming(address, do):
        peer.live = {99}
        await peer.give(merge(1, ttl=0.1))
        assert await asyncio.to_thread(stopped.wait, 20)
        peer.live = None
        await peer.give(merge(2))
        await peer.until(lambda: 2 in fences(peer))
    assert fences(peer) == [2]


async def test_claims_are_renewed_while_work_lasts() -> None:
    peer = Peer()
    renewed = threading.Semaphore(0)
    finish = threading.Event()
    original = peer.RenewClaims

    async def counting(request: Any, context: Any) -> Any:
        renewed.release()
        return await original(request, context)

    peer.RenewClaims = counting  # type: ignore[method-assign]

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        assert finish.wait(20)
        return accept(task, cancel, agree)

    async with serving(peer) as address, claiming(address, do):
        await peer.give(check(1, ttl=0.1), merge(2, ttl=0.1))
        for _ in range(3):
            assert await asyncio.to_thread(renewed.acquire, timeout=20)
        finish.set()
        await peer.until(lambda: sorted(fences(peer)) == [1, 2])


async def test_a_stale_report_is_dropped() -> None:
    peer = Peer()
    peer.stale = {1}
    async with serving(peer) as address, claiming(address, accept):
        await peer.give(check(1))
        await peer.until(lambda: 1 in fences(peer))
        await peer.give(check(2))
        await peer.until(lambda: 2 in fences(peer))
    assert fences(peer).count(1) == 1


async def test_a_coordinator_that_comes_back_gets_the_report() -> None:
    first, second = Peer(), Peer()
    gone, finish = asyncio.Event(), threading.Event()

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        assert finish.wait(20)
        return accept(task, cancel, agree)

    async with asyncio.timeout(30):
        server = serving(first)
        address = await server.__aenter__()
        async with claiming(address, do):
            await first.give(merge(1))
            await first.until(lambda: not first.queue)
            await server.__aexit__(None, None, None)
            gone.set()
            finish.set()
            async with serving(second, address):
                await second.until(lambda: fences(second) == [1])
                await second.give(check(2))
                await second.until(lambda: 2 in fences(second))


async def test_work_that_fails_is_handed_back_with_its_reason() -> None:
    peer = Peer()

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        raise Unmergeable("the weights sum to 0.0")

    async with serving(peer) as address, claiming(address, do):
        await peer.give(merge(1))
        await peer.until(lambda: fences(peer) == [1])
    assert "the weights sum to 0.0" in peer.reports[0].message


async def test_a_store_that_is_away_is_waited_for() -> None:
    peer = Peer()
    tries = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        error = next(tries)
        if error is not None:
            raise error
        return accept(task, cancel, agree)

    async with serving(peer) as address, claiming(address, do):
        await peer.give(check(1))
        await peer.until(lambda: fences(peer) == [1])
    assert peer.reports[0].accepted


async def test_stopping_hands_a_merge_back_and_lets_a_check_finish() -> None:
    peer = Peer()
    begun = threading.Semaphore(0)

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        begun.release()
        if task.WhichOneof("work") == "merge":
            assert cancel.wait(20)
            finish.set()
            raise Cancelled
        assert finish.wait(20)
        return accept(task, cancel, agree)

    finish = threading.Event()
    async with serving(peer) as address, claiming(address, do) as stop:
        await peer.give(merge(1), check(2))
        for _ in range(2):
            assert await asyncio.to_thread(begun.acquire, timeout=20)
        stop.set()
        await peer.until(lambda: sorted(fences(peer)) == [1, 2])
    by_fence = {report.fence: report for report in peer.reports}
    assert "stopping" in by_fence[1].message
    assert by_fence[2].accepted


async def test_a_wrong_token_is_final() -> None:
    peer = Peer()
    peer.token = "another"
    async with serving(peer) as address, Coordinator(address, TOKEN, "aggregator-1") as coordinator:
        claims = Claims(coordinator, accept, checks=4, on_ready=lambda: pytest.fail("not ready"))
        with pytest.raises(RefusedError, match="UNAUTHENTICATED"):
            async with asyncio.timeout(20):
                await claims.run(asyncio.Event())


async def test_what_a_rule_made_of_the_updates_is_agreed_on_before_the_merge() -> None:
    peer = Peer()
    agreed: dict[int, list[Weighing]] = {}

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        shard = 0 if task.fence == 3 else 1
        agreed[task.fence] = list(agree([Weighing(shard=shard, factor=0.5)]))
        return accept(task, cancel, agree)

    async with serving(peer) as address, claiming(address, do):
        peer.stale = {2}
        await peer.give(merge(1), merge(2), merge(3), merge(4))
        await peer.until(lambda: 4 in fences(peer))
    told = {report.fence: report for report in peer.reports}
    assert agreed == {fence: [Weighing(shard=1, factor=0.25)] for fence in (1, 4)}, "what counts, not what was found"
    assert 2 not in told, "of a claim that is lost nothing is reported"
    assert isinstance(told[3], ReportFailureRequest)
    assert "shard 0 is not in the round" in told[3].message


async def test_a_claim_lost_while_the_coordinator_is_away_ends_the_waiting() -> None:
    peer = Peer()
    waiting, ended = threading.Event(), threading.Event()

    def do(task: MergeTask, cancel: threading.Event, agree: Agree) -> Any:
        waiting.set()
        try:
            return agree([Weighing(shard=1)])
        except Cancelled:
            ended.set()
            raise

    async with serving(peer) as address, claiming(address, do) as stop:
        peer.away = asyncio.Event()
        await peer.give(merge(1))
        assert await asyncio.to_thread(waiting.wait, 20)
        stop.set()
        assert await asyncio.to_thread(ended.wait, 20)
        peer.away.set()
