"""Real data, a real trainer in this process, and two real servers as the agent's peers: a gRPC one and an HTTP one."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from aiohttp import web
from google.protobuf.duration_pb2 import Duration
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, load_iris

from trainnet.runtime import digest as digests
from trainnet.v1 import artifact_pb2, dataset_pb2, job_pb2, task_pb2, worker_pb2, worker_pb2_grpc
from trainnet.worker.protocol import OutputFile, Step
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.devices import set_up_torch
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.models.configuration import fields_of
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.tasks import run_task
from trainnet.worker.trainer.workbench import Workbench

COMMON = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0, "batch_size": 16}


async def until(condition: Callable[[], Any], what: str = "condition", seconds: float = 20.0) -> None:
    """Polls with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {seconds} s"
        await asyncio.sleep(0.005)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    return until


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are deselected without CUDA."""
    without = [] if torch.cuda.is_available() else [item for item in items if item.get_closest_marker("gpu")]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


# Data.


@pytest.fixture(scope="session")
def iris_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    iris = load_iris()
    path = tmp_path_factory.mktemp("iris") / "iris.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*iris.feature_names, "species"])
        writer.writerows([*row, iris.target_names[kind]] for row, kind in zip(iris.data, iris.target, strict=True))
    return path


@pytest.fixture(scope="session")
def cancer_parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cancer = load_breast_cancer()
    columns = {name: cancer.data[:, index] for index, name in enumerate(cancer.feature_names)}
    path = tmp_path_factory.mktemp("cancer") / "cancer.parquet"
    pq.write_table(pa.table({"target": cancer.target, **columns}), path)
    return path


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def digits_parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digits = load_digits()
    images = [png((image * 15).astype("uint8")) for image in digits.images]
    path = tmp_path_factory.mktemp("digits") / "digits.parquet"
    pq.write_table(pa.table({"image": images, "label": digits.target}), path)
    return path


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short texts of two classes, that say so."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    words = {"good": "lovely bright warm happy gentle", "bad": "awful dull cold sad cruel"}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(160):
            label = "good" if row % 2 else "bad"
            chosen = words[label].split()
            text = [chosen[(row * step) % 5] for step in range(3 + row % 7)]
            writer.writerow([f"film number {row} was {' '.join(text)}", label])
    return path


# Tasks in this process.


class Tasks:
    """Runs tasks as a trainer process does, without the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workbench = Workbench(set_up_torch(1), InputStore(folder / "inputs", 10**9))
        self._runs = 0
        self.steps: list[Step] = []

    def run(self, spec: task_pb2.TaskSpec, **inputs: Path) -> tuple[task_pb2.TaskResult, dict[str, OutputFile]]:
        self._runs += 1
        out = self._folder / f"run-{self._runs}"
        out.mkdir()
        outputs: dict[str, OutputFile] = {}
        self.steps = []
        context = TaskContext(
            inputs,
            out,
            on_progress=self.steps.append,
            on_output=lambda output: outputs.update({output.output: output}),
        )
        return run_task(spec, context, self._workbench), outputs

    def inspect(self, path: Path, label: str = "") -> dataset_pb2.DataSchema:
        kind = dataset_pb2.DATASET_FORMAT_PARQUET if path.suffix == ".parquet" else dataset_pb2.DATASET_FORMAT_CSV
        spec = task_pb2.InspectSpec(format=kind, label_column=label)
        result, _ = self.run(task_pb2.TaskSpec(inspect=spec), source=path)
        return result.inspect.schema

    def prepare(
        self, path: Path, shards: int, holdout: float = 0.2, seed: int = 1
    ) -> tuple[dataset_pb2.DataSchema, task_pb2.PrepareResult, dict[str, OutputFile]]:
        schema = self.inspect(path)
        kind = dataset_pb2.DATASET_FORMAT_PARQUET if path.suffix == ".parquet" else dataset_pb2.DATASET_FORMAT_CSV
        plan = dataset_pb2.ShardPlan(shards=shards, holdout_fraction=holdout, seed=seed)
        spec = task_pb2.PrepareSpec(format=kind, schema=schema, plan=plan)
        result, outputs = self.run(task_pb2.TaskSpec(prepare=spec), source=path)
        return schema, result.prepare, outputs


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path)


@pytest.fixture(scope="session")
def model_of() -> Callable[..., task_pb2.ModelSpec]:
    def model(architecture: str, schema: dataset_pb2.DataSchema | None = None, **changes: Any) -> task_pb2.ModelSpec:
        spec = task_pb2.ModelSpec(architecture=architecture, schema=schema)
        defaults: dict[str, dict[str, Any]] = {
            "mlp": {**COMMON, "hidden": [16, 16], "dropout": 0.0},
            "cnn": {**COMMON, "width": 8, "hidden": 32},
            "noop": {"params": 1024},
            "distilbert": {
                **COMMON,
                "optimizer": "adamw",
                "learning_rate": 1e-3,
                "size": "tiny",
                "max_length": 16,
                "vocab_size": 300,
                "lora.rank": 0,
                "lora.alpha": 16,
                "lora.dropout": 0,
                "lora.targets": "",
                **{f"config.{name}": None for name in fields_of(FAMILIES["distilbert"])},
            },
        }
        spec.hyperparameters.update({**defaults[architecture], **changes})
        return spec

    return model


# The object store's side: what was signed must come, and faults on request.


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


@pytest.fixture
async def store() -> AsyncIterator[FileStore]:
    found = FileStore()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{key:.*}", found.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


# The coordinator's side: a protocol peer that does what a test tells it.


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


@pytest.fixture
async def peer(store: FileStore) -> AsyncIterator[Peer]:
    found = Peer(store)
    await found.start()
    yield found
    await found.stop()
