"""A coordinator in this process on real servers, and scripted peers for its services.

    async with Coordinator(infrastructure, tmp_path) as coordinator:
        worker = await coordinator.worker("ada")
        ...

Nothing here knows how the coordinator works inside: peers speak gRPC, NATS and presigned requests, like real ones.
"""

import asyncio
import hashlib
import json
import secrets
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import pytest
import urllib3
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import func, select

from trainnet.coordinator import app
from trainnet.coordinator.domain.states import ENDED_TASKS, LIVE_ATTEMPTS
from trainnet.coordinator.storage.database import Database, Transaction, open_database
from trainnet.coordinator.storage.schema import attempts, contributions, rounds, tasks, updates
from trainnet.local.services import Services
from trainnet.local.stack import LocalStack
from trainnet.runtime import digest
from trainnet.runtime.errors import WireError, describe
from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectNotFound, ObjectStore
from trainnet.v1 import (
    artifact_pb2,
    catalog_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    merge_pb2,
    merge_pb2_grpc,
    operator_pb2_grpc,
    task_pb2,
    worker_pb2,
    worker_pb2_grpc,
)

T = TypeVar("T")

PATIENCE = 15.0
"""Longest wait for anything that should happen at once; only a broken test waits so long."""


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Looks until there is something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"{what} not within {PATIENCE} s"
        await asyncio.sleep(0.02)


def safetensors(values: Iterable[float]) -> bytes:
    """A file with one fp32 vector `w`."""
    numbers = list(values)
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(numbers)], "data_offsets": [0, 4 * len(numbers)]}})
    padded = header.encode().ljust(-(-len(header) // 8) * 8)
    return struct.pack("<Q", len(padded)) + padded + struct.pack(f"<{len(numbers)}f", *numbers)


def vector(data: bytes) -> list[float]:
    """The numbers of such a file."""
    (header,) = struct.unpack("<Q", data[:8])
    return list(struct.unpack(f"<{(len(data) - 8 - header) // 4}f", data[8 + header :]))


def declaration(data: bytes) -> artifact_pb2.UploadDeclaration:
    return artifact_pb2.UploadDeclaration(size_bytes=len(data), part_sha256=[hashlib.sha256(data).digest()])


def noop_spec(rounds_: int = 1, shards: int = 2, **fields: Any) -> job_pb2.JobSpec:
    """A job that needs no data."""
    plan = dataset_pb2.ShardPlan(shards=shards)
    return job_pb2.JobSpec(architecture="noop", rounds=rounds_, epochs=1, plan=plan, **fields)


def send(signed: artifact_pb2.SignedRequest, data: bytes | None = None) -> urllib3.BaseHTTPResponse:
    """One presigned request, as a worker would send it."""
    with urllib3.PoolManager() as pool:
        return pool.request(signed.method, signed.url, headers=dict(signed.headers), body=data, retries=False)


async def store_part(grant: artifact_pb2.UploadGrant, data: bytes) -> None:
    for part in grant.parts:
        chunk = data[part.offset_bytes : part.offset_bytes + part.size_bytes]
        answer = await asyncio.to_thread(send, part.request, chunk)
        assert answer.status in {200, 412}, answer.data


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str | None = None) -> AsyncIterator[list[WireError]]:
    """The block must end in this error, which is in the list afterwards."""
    found: list[WireError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield found
    found.append(describe(raised.value))
    assert found[0].code == code, found[0]
    assert reason is None or found[0].reason == reason, found[0]


def _read(path: Path) -> str | None:
    return path.read_text().strip() or None if path.exists() else None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def environment(stack: LocalStack, folder: Path) -> dict[str, str]:
    """What the local stack tells a coordinator."""
    assert stack.secrets is not None
    assert stack.ports is not None
    return dict(Services(folder, stack.ports, stack.secrets, 2, 1, "warning", "json", {}).coordinator().env)


def store_of(stack: LocalStack) -> ObjectStore:
    assert stack.secrets is not None
    assert stack.ports is not None
    credentials = Credentials(stack.secrets.s3_access_key, stack.secrets.s3_secret_key)
    return ObjectStore(credentials, endpoint=f"127.0.0.1:{stack.ports.s3}")


class Coordinator:
    """`app.main` in this loop, on a SQLite file and a free port, until the block ends."""

    def __init__(self, infrastructure: LocalStack, folder: Path, **settings: object) -> None:
        stack, self.folder = infrastructure, folder
        assert stack.secrets is not None
        self.secrets = stack.secrets
        self.nats_url = stack.endpoints.nats
        self.url = f"sqlite+aiosqlite:///{folder / 'coordinator.db'}"
        self.env = {
            **environment(stack, folder),
            "TRAINNET_LISTEN": "127.0.0.1:0",
            "TRAINNET_DATABASE_URL": self.url,
            "TRAINNET_READY_FILE": str(folder / "ready"),
            "TRAINNET_DRAIN_GRACE": "0.5",
            **{f"TRAINNET_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.store = store_of(stack)
        self._ready = Path(self.env["TRAINNET_READY_FILE"])
        self._peers: list[ScriptedWorker] = []
        self._channels: list[grpc.aio.Channel] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        _remove(self._ready)
        self._stop = asyncio.Event()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            self._main = asyncio.create_task(app.main(self._stop))

            async def port() -> str | None:
                if self._main.done():
                    self._main.result()
                return _read(self._ready)

            self.address = f"127.0.0.1:{await until(port, 'the coordinator')}"
        self.database = open_database(self.url)
        self._connect()

    def _connect(self) -> None:
        admin, aggregator = self.channel(self.secrets.admin_token), self.channel(self.secrets.aggregator_token)
        self.jobs = job_pb2_grpc.JobServiceStub(admin)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(admin)
        self.operator = operator_pb2_grpc.OperatorServiceStub(admin)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(admin)
        self.merge = merge_pb2_grpc.MergeServiceStub(aggregator)
        self.registration = worker_pb2_grpc.WorkerServiceStub(self.channel())
        self.aggregator = ScriptedAggregator(self)

    def channel(self, token: str = "") -> grpc.aio.Channel:
        """A connection of its own, whose calls carry the token."""
        channel = grpc.aio.insecure_channel(
            self.address,
            options=[("grpc.use_local_subchannel_pool", 1)],
            interceptors=[_UnaryToken(token), _StreamToken(token)] if token else [],
        )
        self._channels.append(channel)
        return channel

    async def stop(self) -> None:
        for peer in self._peers:
            peer.leave()
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        self._stop.set()
        await asyncio.wait_for(self._main, PATIENCE)
        await self.database.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self.store.close()

    # --- peers ---

    async def register(
        self, name: str = "ada", join_token: str = "", request_id: str = ""
    ) -> worker_pb2.RegisterResponse:
        answer: worker_pb2.RegisterResponse = await self.registration.Register(
            worker_pb2.RegisterRequest(
                request_id=request_id or secrets.token_hex(16),
                join_token=join_token or self.secrets.join_token,
                display_name=name,
            )
        )
        return answer

    async def worker(self, name: str = "ada", *, slots: int = 1, **hello: Any) -> "ScriptedWorker":
        """A new worker of the trusted pool with an open session."""
        identity = await self.register(name)
        return await self.session(identity, slots=slots, **hello)

    async def session(self, identity: worker_pb2.RegisterResponse, *, slots: int = 1, **hello: Any) -> "ScriptedWorker":
        """A session of a registered worker, on a connection of its own."""
        peer = ScriptedWorker(self.channel(), identity, slots)
        self._peers.append(peer)
        await peer.hello(**hello)
        return peer

    # --- what owners do ---

    async def create(self, spec: job_pb2.JobSpec, request_id: str = "") -> job_pb2.Job:
        request = job_pb2.CreateJobRequest(request_id=request_id or secrets.token_hex(8), spec=spec)
        answer: job_pb2.CreateJobResponse = await self.jobs.CreateJob(request)
        return answer.job

    async def job(self, name: str) -> job_pb2.Job:
        answer: job_pb2.GetJobResponse = await self.jobs.GetJob(job_pb2.GetJobRequest(name=name))
        return answer.job

    async def job_in(self, name: str, state: str) -> job_pb2.Job:
        async def look() -> job_pb2.Job | None:
            job = await self.job(name)
            return job if job.state == job_pb2.JobState.Value(f"JOB_STATE_{state}") else None

        return await until(look, f"{name} {state}")


def _with_token(details: Any, token: str) -> Any:
    timeout = PATIENCE if details.timeout is None else details.timeout
    return details._replace(metadata=(("authorization", f"Bearer {token}"),), timeout=timeout)


class _UnaryToken(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_token(client_call_details, self._token), request)


class _StreamToken(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_token(client_call_details, self._token), request)


class ScriptedWorker:
    """A session that says exactly what it is told to, and keeps what it hears."""

    def __init__(self, channel: grpc.aio.Channel, identity: worker_pb2.RegisterResponse, slots: int) -> None:
        self.identity, self.slots = identity, slots
        self.name, self.token = identity.worker, identity.worker_token
        self.id = self.name.removeprefix("workers/")
        self.welcome = worker_pb2.Welcome()
        self.held: set[int] = set()
        self._heard: list[worker_pb2.ConnectResponse] = []
        metadata = (("authorization", f"Bearer {self.token}"),)
        self._call = worker_pb2_grpc.WorkerServiceStub(channel).Connect(metadata=metadata)

    async def hello(self, incarnation: str = "incarnation-1", held: Iterable[int] = (), **state: Any) -> None:
        self.held = set(held)
        await self.send(
            hello=worker_pb2.Hello(
                worker=self.name,
                incarnation=incarnation,
                version="test",
                capabilities=worker_pb2.Capabilities(
                    slots=self.slots, device="cpu", architectures=["noop", "mlp", "cnn"]
                ),
                state=self._state(**state),
            )
        )
        self.welcome = (await self.hear("welcome")).welcome

    def _state(self, **state: Any) -> worker_pb2.Heartbeat:
        held = [worker_pb2.HeldTask(fence=fence) for fence in sorted(self.held)]
        return worker_pb2.Heartbeat(held=held, **state)

    async def send(self, **message: Any) -> None:
        await self._call.write(worker_pb2.ConnectRequest(**message))

    async def hear(self, kind: str, fence: int | None = None) -> worker_pb2.ConnectResponse:
        """The next message of a kind (about a fence); the others are kept for later."""

        def wanted(message: worker_pb2.ConnectResponse) -> bool:
            if message.WhichOneof("message") != kind:
                return False
            return fence is None or getattr(message, kind).fence == fence

        for index, message in enumerate(self._heard):
            if wanted(message):
                return self._heard.pop(index)
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self._read(kind)
                if wanted(message):
                    return message
                self._heard.append(message)

    async def _read(self, what: str) -> worker_pb2.ConnectResponse:
        message = await self._call.read()
        assert isinstance(message, worker_pb2.ConnectResponse), f"the session ended before {what}"
        return message

    async def heartbeat(self, **state: Any) -> worker_pb2.DesiredState:
        """The desired state that answers this heartbeat."""
        self._heard = [item for item in self._heard if item.WhichOneof("message") != "desired_state"]
        await self.send(heartbeat=self._state(**state))
        return (await self.hear("desired_state")).desired_state

    async def assigned(self, count: int = 1) -> list[worker_pb2.Assignment]:
        """Assignments that wait for it, as soon as there are so many."""

        async def look() -> list[worker_pb2.Assignment] | None:
            found = list((await self.heartbeat()).assignments)
            return found if len(found) >= count else None

        return await until(look, "an assignment")

    async def accept(self, fence: int) -> worker_pb2.Lease:
        await self.send(accept=worker_pb2.Accept(fence=fence))
        lease = (await self.hear("lease", fence)).lease
        self.held.add(fence)
        return lease

    async def take(self) -> worker_pb2.Lease:
        """The next lease."""
        return await self.accept((await self.assigned())[0].fence)

    async def take_kind(self, kind: task_pb2.TaskKind) -> worker_pb2.Lease:
        lease = await self.take()
        assert lease.kind == kind, lease
        return lease

    async def grant(self, fence: int, output: str, data: bytes) -> artifact_pb2.UploadGrant | worker_pb2.Result:
        """The grant, or why not."""
        request = worker_pb2.UploadRequest(fence=fence, output=output, declaration=declaration(data))
        await self.send(upload_request=request)

        async def next_answer() -> artifact_pb2.UploadGrant | worker_pb2.Result:
            while True:
                for index, message in enumerate(self._heard):
                    kind = message.WhichOneof("message")
                    if kind == "upload_grant" and message.upload_grant.fence == fence:
                        return self._heard.pop(index).upload_grant.grant
                    if kind == "result" and message.result.fence == fence:
                        return self._heard.pop(index).result
                self._heard.append(await self._read("an answer"))

        return await asyncio.wait_for(next_answer(), PATIENCE)

    async def upload(self, fence: int, output: str, data: bytes) -> None:
        grant = await self.grant(fence, output, data)
        assert isinstance(grant, artifact_pb2.UploadGrant), grant
        await store_part(grant, data)

    async def complete(
        self, fence: int, outputs: Mapping[str, bytes] | None = None, **result: Any
    ) -> worker_pb2.Result:
        """Hands in a result; answers what came back."""
        listed = [
            task_pb2.TaskOutput(output=name, digest=digest.of_bytes(data)) for name, data in (outputs or {}).items()
        ]
        await self.send(complete=worker_pb2.Complete(fence=fence, result=task_pb2.TaskResult(outputs=listed, **result)))
        return await self.result(fence)

    async def result(self, fence: int) -> worker_pb2.Result:
        answer = (await self.hear("result", fence)).result
        self.held.discard(fence)
        return answer

    async def fail(self, fence: int, reason: worker_pb2.FailReason, message: str = "") -> worker_pb2.Result:
        await self.send(fail=worker_pb2.Fail(fence=fence, reason=reason, message=message))
        return await self.result(fence)

    async def hand_in(self, lease: worker_pb2.Lease, values: Iterable[float] = (1.0, 2.0)) -> bytes:
        """Does a lease that makes weights: uploads them and completes."""
        output = "update" if lease.kind == task_pb2.TASK_KIND_TRAIN else "base"
        data = safetensors(values)
        await self.upload(lease.fence, output, data)
        answer = await self.complete(lease.fence, {output: data})
        assert answer.outcome == worker_pb2.OUTCOME_RECEIVED, answer
        return data

    async def ended(self) -> WireError | None:
        """How the session ended; None for a clean end."""
        try:
            async with asyncio.timeout(PATIENCE):
                while await self._call.read() is not grpc.aio.EOF:
                    pass
                code = await self._call.code()
        except grpc.aio.AioRpcError as error:
            return describe(error)
        return None if code == grpc.StatusCode.OK else WireError(code, await self._call.details())

    def leave(self) -> None:
        """Cuts the stream, as a lost network would."""
        self._call.cancel()


class ScriptedAggregator:
    """Claims and reports by the book; merges by the mean of equal weights."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._merge, self._store = coordinator.merge, coordinator.store

    async def claim(
        self, *kinds: task_pb2.TaskKind, wait: float = PATIENCE, most: int = 1, name: str = "agg"
    ) -> list[merge_pb2.MergeTask]:
        duration = Duration()
        duration.FromMilliseconds(round(wait * 1000))
        request = merge_pb2.ClaimRequest(aggregator=name, kinds=kinds, max_tasks=most, wait=duration)
        answer: merge_pb2.ClaimResponse = await self._merge.Claim(request, timeout=wait + PATIENCE)
        return list(answer.tasks)

    async def claim_one(self, kind: task_pb2.TaskKind, name: str = "agg") -> merge_pb2.MergeTask:
        tasks_ = await self.claim(kind, name=name)
        assert tasks_, f"no {task_pb2.TaskKind.Name(kind)} to claim"
        return tasks_[0]

    async def check(self, *, accept: bool = True) -> int:
        """Claims and decides one check; answers its fence."""
        task = await self.claim_one(task_pb2.TASK_KIND_CHECK)
        assert self.get(task.check.update), "the update is not stored"
        await self.report_check(task.fence, accept=accept)
        return task.fence

    async def report_check(self, fence: int, *, accept: bool = True) -> None:
        reason = "" if accept else "NOT_FINITE"
        await self._merge.ReportCheck(
            merge_pb2.ReportCheckRequest(fence=fence, accepted=accept, reason=reason, message="by script", norm=1.0)
        )

    async def merge(self) -> merge_pb2.ReportMergeRequest:
        """Claims a merge, does it, reports it; answers the report."""
        report = self.merged(await self.claim_one(task_pb2.TASK_KIND_MERGE))
        await self._merge.ReportMerge(report)
        return report

    def merged(self, task: merge_pb2.MergeTask) -> merge_pb2.ReportMergeRequest:
        """Stores the merged weights of a claimed merge."""
        work = task.merge
        terms = [term for group in work.groups for term in group.terms]
        total = sum(term.weight for term in terms)
        values = vector(self.get(work.base))
        for term in terms:
            for index, delta in enumerate(vector(self.get(term.update))):
                values[index] += term.weight * delta / total
        data = safetensors(values)
        info = self._store.put(work.key, data)
        artifact = artifact_pb2.Artifact(key=work.key, digest=str(info.sha256), size_bytes=len(data))
        return merge_pb2.ReportMergeRequest(
            fence=task.fence, merged=artifact, sha256=hashlib.sha256(data).hexdigest(), timings={"fold": 0.1}
        )

    def get(self, artifact: artifact_pb2.Artifact) -> bytes:
        data = self._store.get(artifact.key, 1 << 20)
        assert digest.of_bytes(data) == artifact.digest
        return data


async def assert_invariants(database: Database, store: ObjectStore, *, settled: bool = True) -> None:
    """I1, I2, I4, I5 and I6 of the design; I3 is the aggregator's."""
    async with database.read() as tx:
        accepted = await tx.all(select(updates).where(updates.c.state == "ACCEPTED"))
        places = [(row.job, row.round, row.shard) for row in accepted]
        assert len(places) == len(set(places)), "I1: two accepted updates for a shard"
        earned = {(row.fence, row.examples) for row in await tx.all(select(contributions))}
        assert earned >= {(row.fence, row.examples) for row in accepted}, "I2: an update without contribution"
        assert len(earned) == await _count(tx, contributions), "I2: a contribution twice"
        for row in accepted:
            attempt = await tx.one(select(attempts).where(attempts.c.fence == row.fence))
            assert attempt is not None
            assert attempt.state == "DONE", "I4: accepted by a fence that is not the one that counts"
        live = await tx.all(
            select(attempts.c.task, func.count().label("number"))
            .where(attempts.c.state.in_(LIVE_ATTEMPTS))
            .group_by(attempts.c.task)
        )
        assert all(row.number == 1 for row in live), "two live attempts"
        if settled:
            open_tasks = await tx.all(select(tasks).where(tasks.c.state.not_in(ENDED_TASKS)))
            assert not open_tasks, f"I5: {[(row.kind, row.state) for row in open_tasks]}"
        kept = await tx.all(select(rounds).where(rounds.c.state == "MERGED", ~rounds.c.collected))
    for row in kept:
        for key, size in [(row.merged_key, row.merged_size), (row.base_key, row.base_size)]:
            assert _size(store, key) == size, "I6: a row without its object"
        for item in accepted:
            if (item.job, item.round) == (row.job, row.number):
                assert _size(store, item.object_key) == item.object_size, "I6: a row without its object"


async def _count(tx: Transaction, table: Any) -> int:
    row = await tx.one(select(func.count()).select_from(table))
    assert row is not None
    return int(row[0])


def _size(store: ObjectStore, key: str) -> int | None:
    try:
        return store.stat(key).size
    except ObjectNotFound:
        return None
