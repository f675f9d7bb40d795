"""Two real servers as the agent's peers: an HTTP one that stores objects, a gRPC one that speaks for a coordinator."""

from __future__ import annotations

from typing import Any

import grpc
from aiohttp import web
from google.protobuf.duration_pb2 import Duration

from trainnet.runtime import digest as digests
from trainnet.v1 import artifact_pb2, job_pb2, task_pb2, worker_pb2, worker_pb2_grpc


class FileStore:
    """Objects over HTTP. `faults` are taken one by one, each by the next request."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.requests: list[tuple[str, str, str]] = []
        self.url = ""

    def artifact(self, key: str, data: bytes | None = None, *, valid: str = "yes", part: int = 0) -> Any:
        if data is not None:
            self.objects[key] = data
        data = self.objects[key]
        if part:
            hashed = [digests.parse(digests.of_bytes(data[at : at + part])).sha256 for at in range(0, len(data), part)]
        return artifact_pb2.Artifact(
            key=key,
            digest=digests.composite(hashed) if part else digests.of_bytes(data),
            size_bytes=len(data),
            part_size_bytes=part,
            download=artifact_pb2.SignedRequest(method="GET", url=f"{self.url}/{key}?valid={valid}&sig=a%2Fb"),
        )

    def put_request(self, key: str, sha256: bytes, size: int, *, valid: str = "yes") -> artifact_pb2.SignedRequest:
        headers = {"Content-Length": str(size), "x-amz-checksum-sha256": sha256.hex(), "If-None-Match": "*"}
        return artifact_pb2.SignedRequest(method="PUT", url=f"{self.url}/{key}?valid={valid}", headers=headers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        self.requests.append((request.method, key, request.headers.get("Range", "")))
        fault = self.faults.pop(0) if self.faults else ""
        if request.query["valid"] != "yes" or fault == "403":
            return web.Response(status=403)
        if fault == "503":
            return web.Response(status=503)
        return await (self._put(request, key) if request.method == "PUT" else self._get(request, key, fault))

    async def _put(self, request: web.Request, key: str) -> web.StreamResponse:
        body = await request.read()
        sent = {"Content-Type", "User-Agent", "Accept", "Accept-Encoding"} & set(request.headers)
        assert not sent, f"headers that nobody signed: {sent}"
        checksum = request.headers["x-amz-checksum-sha256"]
        if digests.of_bytes(body) != f"sha256:{checksum}" or len(body) != int(request.headers["Content-Length"]):
            return web.Response(status=400, text="BadDigest")
        if key in self.objects:
            return web.Response(status=412)
        self.objects[key] = body
        return web.Response()

    async def _get(self, request: web.Request, key: str, fault: str) -> web.StreamResponse:
        data = self.objects[key]
        asked = request.headers.get("Range", "")
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or len(data)), len(data) - 1)
        body = data[start : end + 1]
        headers = {"Content-Length": str(len(body))}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        response = web.StreamResponse(status=206 if asked else 200, headers=headers)
        await response.prepare(request)
        if fault == "truncate":
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(bytes(len(body)) if fault == "corrupt" else body)
        return response


class Peer(worker_pb2_grpc.WorkerServiceServicer):
    """Speaks the worker's protocol. Answers like a coordinator, but for the kinds in `silent`."""

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self.registered: list[worker_pb2.RegisterRequest] = []
        self.hellos: list[worker_pb2.Hello] = []
        self.received: list[worker_pb2.ConnectRequest] = []
        self.tasks: dict[int, worker_pb2.Lease] = {}
        self.assigned: list[int] = []
        self.leases: list[int] = []
        self.silent: set[str] = set()
        self.refuse_token = False
        self.valid_token = "worker-token"
        self.nats = worker_pb2.NatsAccess()
        self.results: dict[int, task_pb2.TaskResult] = {}
        self.failures: dict[int, worker_pb2.Fail] = {}
        self.contexts: list[Any] = []
        self.address = ""
        self._server: grpc.aio.Server | None = None

    def kinds(self) -> list[str | None]:
        return [message.WhichOneof("message") for message in self.received]

    def of(self, kind: str) -> list[Any]:
        return [getattr(message, kind) for message in self.received if message.WhichOneof("message") == kind]

    def give(self, fence: int, kind: task_pb2.TaskKind, **work: Any) -> None:
        self.tasks[fence] = worker_pb2.Lease(fence=fence, kind=kind, spec=task_pb2.TaskSpec(job="jobs/j", **work))
        self.assigned.append(fence)

    def give_noop(self, fence: int, model: task_pb2.ModelSpec, base: Any) -> None:
        spec = task_pb2.TrainSpec(model=model, base=base, epochs=1, seed=fence, round=1, shard_index=0)
        self.give(fence, task_pb2.TASK_KIND_TRAIN, train=spec)

    async def say(self, **message: Any) -> None:
        await self.contexts[-1].write(worker_pb2.ConnectResponse(**message))

    async def Register(self, request: worker_pb2.RegisterRequest, context: Any) -> worker_pb2.RegisterResponse:  # noqa: N802
        if self.refuse_token:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown join token")
        self.registered.append(request)
        return worker_pb2.RegisterResponse(
            worker="workers/w1", worker_token=self.valid_token, pool=job_pb2.POOL_TRUSTED
        )

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.valid_token}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown worker token")
        self.contexts.append(context)
        async for message in request_iterator:
            kind = message.WhichOneof("message")
            if kind == "hello":
                self.hellos.append(message.hello)
            else:
                self.received.append(message)
            if kind not in self.silent:
                answer = self.answer(kind, message)
                if answer is not None:
                    await context.write(answer)

    def answer(self, kind: str, message: worker_pb2.ConnectRequest) -> worker_pb2.ConnectResponse | None:
        match kind:
            case "hello":
                interval, ttl = Duration(nanos=100_000_000), Duration(seconds=5)
                welcome = worker_pb2.Welcome(epoch=1, heartbeat_interval=interval, lease_ttl=ttl, nats=self.nats)
                return worker_pb2.ConnectResponse(welcome=welcome)
            case "heartbeat":
                assignments = [worker_pb2.Assignment(fence=fence) for fence in self.assigned]
                desired = worker_pb2.DesiredState(leases=self.leases, assignments=assignments)
                return worker_pb2.ConnectResponse(desired_state=desired)
            case "accept":
                fence = message.accept.fence
                if fence in self.assigned:
                    self.assigned.remove(fence)
                    self.leases.append(fence)
                if fence not in self.leases:
                    return self._result(fence, worker_pb2.OUTCOME_STALE_FENCE)
                return worker_pb2.ConnectResponse(lease=self.tasks[fence])
            case "artifact_request":
                fence = message.artifact_request.fence
                artifacts = worker_pb2.Artifacts(fence=fence, spec=self.tasks[fence].spec)
                return worker_pb2.ConnectResponse(artifacts=artifacts)
            case "upload_request":
                return self._grant(message.upload_request)
            case "complete":
                fence = message.complete.fence
                self.results[fence] = message.complete.result
                if fence in self.leases:
                    self.leases.remove(fence)
                return self._result(fence, worker_pb2.OUTCOME_RECEIVED)
            case "fail":
                fence = message.fail.fence
                self.failures[fence] = message.fail
                if fence in self.leases:
                    self.leases.remove(fence)
                return self._result(fence, worker_pb2.OUTCOME_RETURNED)
            case _:
                return None

    @staticmethod
    def _result(fence: int, outcome: worker_pb2.Outcome) -> worker_pb2.ConnectResponse:
        return worker_pb2.ConnectResponse(result=worker_pb2.Result(fence=fence, outcome=outcome))

    def _grant(self, request: worker_pb2.UploadRequest) -> worker_pb2.ConnectResponse:
        (sha256,), size = request.declaration.part_sha256, request.declaration.size_bytes
        key = f"uploads/{request.fence}/{request.output}"
        grant = artifact_pb2.UploadGrant(key=key, digest=f"sha256:{sha256.hex()}", total_parts=1)
        if key not in self.store.objects:
            signed = self.store.put_request(key, sha256, size)
            grant.parts.append(artifact_pb2.UploadPart(part_number=1, offset_bytes=0, size_bytes=size, request=signed))
        granted = worker_pb2.UploadGranted(fence=request.fence, output=request.output, grant=grant)
        return worker_pb2.ConnectResponse(upload_grant=granted)

    async def start(self) -> None:
        self._server = grpc.aio.server()
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
