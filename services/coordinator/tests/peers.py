"""Scripted peers: a worker and an aggregator that say exactly what they are told to."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from services.coordinator.tests.support import PATIENCE, declaration, safetensors, store_part, until, vector
from trainnet.runtime import digest
from trainnet.runtime.errors import WireError, describe
from trainnet.runtime.store import ObjectStore
from trainnet.v1 import (
    artifact_pb2,
    merge_pb2,
    merge_pb2_grpc,
    task_pb2,
    worker_pb2,
    worker_pb2_grpc,
)


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

    def __init__(self, merge: "merge_pb2_grpc.MergeServiceAsyncStub", store: ObjectStore) -> None:
        self._merge, self._store = merge, store

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
