# ruff: noqa: N802 - gRPC names its methods so
"""A real gRPC server in the place of the coordinator, which speaks the contract and fails to order.

It knows just enough to be talked to: the client is what is tested. Whether the real coordinator agrees is tested by the
cross-service tests.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from google.protobuf import any_pb2, struct_pb2
from google.rpc import error_details_pb2, status_pb2

from clients.python.tests.store import Store
from trainnet.v1 import (
    artifact_pb2,
    catalog_pb2,
    catalog_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    worker_pb2,
)

TOKEN = "right"

SCHEMA = dataset_pb2.DataSchema(
    columns=[dataset_pb2.Column(name="x", kind=dataset_pb2.COLUMN_KIND_NUMERIC, missing=1, mean=2.0, deviation=0.8)],
    label="y",
    classes=[dataset_pb2.LabelClass(name="a", rows=2), dataset_pb2.LabelClass(name="b", rows=1)],
    rows=3,
    warnings=["class b is rare"],
)
PROFILE = dataset_pb2.DataProfile(
    columns=[
        dataset_pb2.ColumnProfile(name="x", distinct=3, minimum=1, maximum=3),
        dataset_pb2.ColumnProfile(name="y", distinct=2, mean_length=1, max_length=1),
    ],
    samples=[dataset_pb2.SampleRow(values=["1", "a"]), dataset_pb2.SampleRow(values=["2", "a"])],
    duplicate_rows=1,
    compared_rows=3,
)
PART = 64 * 1024 * 1024

_Knob = catalog_pb2.Hyperparameter
MLP = catalog_pb2.Architecture(
    architecture="mlp",
    description="Layers.",
    data=catalog_pb2.DATA_KIND_TABULAR,
    task=catalog_pb2.LEARNING_TASK_CLASSIFICATION,
    takes_base=True,
    sizes=[catalog_pb2.ArchitectureSize(name="tiny", parameters=1_234_567, description="For a try.")],
    hyperparameters=[
        _Knob(name="lr", type=catalog_pb2.HYPERPARAMETER_TYPE_FLOAT, minimum=0, maximum=10, description="Step size."),
        _Knob(name="batch_size", type=catalog_pb2.HYPERPARAMETER_TYPE_INTEGER, minimum=1, maximum=4096),
        _Knob(name="optimizer", type=catalog_pb2.HYPERPARAMETER_TYPE_CHOICE, choices=["sgd", "adam"]),
        _Knob(
            name="bias",
            type=catalog_pb2.HYPERPARAMETER_TYPE_BOOLEAN,
            default_value=struct_pb2.Value(bool_value=True),
        ),
        _Knob(name="hidden", type=catalog_pb2.HYPERPARAMETER_TYPE_INTEGER_LIST, minimum=1),
        _Knob(
            name="config.n_layer",
            type=catalog_pb2.HYPERPARAMETER_TYPE_INTEGER,
            default_value=struct_pb2.Value(null_value=struct_pb2.NULL_VALUE),
            minimum=1,
        ),
        _Knob(
            name="lora.targets",
            type=catalog_pb2.HYPERPARAMETER_TYPE_STRING,
            default_value=struct_pb2.Value(string_value=""),
        ),
    ],
)
NOOP = catalog_pb2.Architecture(architecture="noop", description="Nothing.", data=catalog_pb2.DATA_KIND_NONE)


class Refusal(Exception):
    """What a method answers instead of a result."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        field: str = "",
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        details: list[Any] = []
        if reason:
            details.append(error_details_pb2.ErrorInfo(reason=reason, domain="trainnet", metadata=metadata or {}))
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        packed = [any_pb2.Any() for _ in details]
        for holder, detail in zip(packed, details, strict=True):
            holder.Pack(detail)
        self.trailer = status_pb2.Status(code=code.value[0], message=message, details=packed).SerializeToString()


class Peer(grpc.ServerInterceptor):
    """Serves on `port` until it is stopped; `start` serves again on the same port, like a restarted coordinator.

    `models` are the plain files of each round, `folder` the exported one, which is there once `made` is set. A call of
    GetModel waits for that while `folder` holds something. `orders[method]` is a queue of refusals that the next calls
    of the method get. `calls` counts calls by method.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.port = 0
        self.calls: Counter[str] = Counter()
        self.orders: dict[str, deque[Refusal]] = {}
        self.datasets: dict[str, dataset_pb2.Dataset] = {}
        self.uploaded: dict[str, model_pb2.Model] = {}
        self.declared: dict[str, tuple[str, dataset_pb2.CreateDatasetRequest | model_pb2.CreateModelRequest]] = {}
        self.jobs: dict[str, job_pb2.Job] = {}
        self.requests: dict[str, str] = {}
        self.watch: Callable[[int], Iterator[job_pb2.WatchJobResponse]] = lambda _: iter(())
        self.models: dict[int, list[job_pb2.ModelFile]] = {}
        self.folder: list[job_pb2.ModelFile] = []
        self.made = threading.Event()
        self.workers: list[worker_pb2.Worker] = []
        self.ready_after = 1
        self._lock = threading.Lock()
        self._server: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), interceptors=[self], options=[("grpc.so_reuseport", 0)])
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(_Datasets(self), self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._server)
        job_pb2_grpc.add_JobServiceServicer_to_server(_Jobs(self), self._server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(_Catalog(), self._server)  # type: ignore[abstract]
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(_Operator(self), self._server)  # type: ignore[abstract]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait(10)

    def order(self, method: str, refusal: Refusal, times: int = 1) -> None:
        self.orders.setdefault(method, deque()).extend([refusal] * times)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        with self._lock:
            self.calls[method] += 1
            queue = self.orders.get(method)
            refusal = queue.popleft() if queue else None
        if dict(details.invocation_metadata).get("authorization") != f"Bearer {TOKEN}":
            refusal = Refusal(grpc.StatusCode.UNAUTHENTICATED, "unknown token", reason="UNAUTHENTICATED")
        handler = continuation(details)
        factory = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        behavior = handler.unary_stream if handler.response_streaming else handler.unary_unary

        def unary(request: Any, context: Any) -> Any:
            try:
                if refusal is not None:
                    raise refusal
                return behavior(request, context)
            except Refusal as error:
                _abort(context, error)

        def stream(request: Any, context: Any) -> Any:
            try:
                if refusal is not None:
                    raise refusal
                yield from behavior(request, context)
            except Refusal as error:
                _abort(context, error)

        return factory(
            stream if handler.response_streaming else unary,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _abort(context: Any, error: Refusal) -> None:
    context.set_trailing_metadata((("grpc-status-details-bin", error.trailer),))
    context.abort(error.code, error.message)


def _find(rows: dict[str, Any], name: str) -> Any:
    if name not in rows:
        raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no {name}", reason="NOT_FOUND")
    return rows[name]


def _page(rows: list[Any], request: Any) -> tuple[list[Any], str]:
    """Two rows a page, whatever was asked, so that paging happens."""
    start = int(request.page_token or 0)
    return rows[start : start + 2], str(start + 2) if start + 2 < len(rows) else ""


def _declaration(peer: Peer, name: str) -> artifact_pb2.UploadDeclaration:
    return next(asked for found, asked in peer.declared.values() if found == name).declaration


def _grant(peer: Peer, name: str) -> artifact_pb2.UploadGrant:
    declaration = _declaration(peer, name)
    count = len(declaration.part_sha256)
    sizes = [min(PART, declaration.size_bytes - index * PART) for index in range(count)]
    keys = [f"{name}/{index}" for index in range(count)]
    left = [index for index in range(count) if keys[index] not in peer.store.objects]
    return artifact_pb2.UploadGrant(
        key=name,
        parts=[
            artifact_pb2.UploadPart(
                part_number=index + 1,
                offset_bytes=index * PART,
                size_bytes=sizes[index],
                request=peer.store.grant_put(keys[index], sizes[index], declaration.part_sha256[index]),
            )
            for index in (left[:1] if count > 1 else [0])  # a single PUT is granted whether it is stored or not
        ],
        total_parts=count,
        stored_bytes=sum(size for index, size in enumerate(sizes) if index not in left),
    )


class _Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._looks: Counter[str] = Counter()

    def CreateDataset(self, request: dataset_pb2.CreateDatasetRequest, context: Any) -> Any:
        peer = self._peer
        if request.request_id not in peer.declared:
            name = f"datasets/d{len(peer.datasets) + 1}"
            peer.declared[request.request_id] = name, request
            peer.datasets[name] = dataset_pb2.Dataset(
                name=name,
                display_name=request.display_name,
                format=request.format,
                state=dataset_pb2.DATASET_STATE_UPLOADING,
                reading=request.reading,
                source=artifact_pb2.Artifact(size_bytes=request.declaration.size_bytes),
            )
        name = peer.declared[request.request_id][0]
        return dataset_pb2.CreateDatasetResponse(dataset=peer.datasets[name], grant=_grant(self._peer, name))

    def GrantDatasetUpload(self, request: Any, context: Any) -> Any:
        return dataset_pb2.GrantDatasetUploadResponse(grant=_grant(self._peer, request.name))

    def CompleteDataset(self, request: Any, context: Any) -> Any:
        if _grant(self._peer, request.name).stored_bytes < _declaration(self._peer, request.name).size_bytes:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "parts are missing", reason="UPLOAD_INCOMPLETE")
        dataset = _find(self._peer.datasets, request.name)
        dataset.state = dataset_pb2.DATASET_STATE_PREPARING
        return dataset_pb2.CompleteDatasetResponse(dataset=dataset)

    def UpdateDataset(self, request: dataset_pb2.UpdateDatasetRequest, context: Any) -> Any:
        dataset = _find(self._peer.datasets, request.name)
        dataset.reading.CopyFrom(request.reading)
        dataset.state = dataset_pb2.DATASET_STATE_PREPARING
        return dataset_pb2.UpdateDatasetResponse(dataset=dataset)

    def GetDataset(self, request: Any, context: Any) -> Any:
        dataset = _find(self._peer.datasets, request.name)
        self._looks[request.name] += 1
        ready = self._looks[request.name] >= self._peer.ready_after
        if dataset.state == dataset_pb2.DATASET_STATE_PREPARING and ready:
            dataset.state = dataset_pb2.DATASET_STATE_READY
            dataset.schema.CopyFrom(SCHEMA)
            dataset.profile.CopyFrom(PROFILE)
            dataset.schema.label = dataset.reading.label_column or "y"
        return dataset_pb2.GetDatasetResponse(dataset=dataset)

    def ListDatasets(self, request: Any, context: Any) -> Any:
        rows, token = _page(list(self._peer.datasets.values())[::-1], request)
        return dataset_pb2.ListDatasetsResponse(datasets=rows, next_page_token=token)

    def DeleteDataset(self, request: Any, context: Any) -> Any:
        _find(self._peer.datasets, request.name)
        del self._peer.datasets[request.name]
        return dataset_pb2.DeleteDatasetResponse()


class _Models(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def CreateModel(self, request: model_pb2.CreateModelRequest, context: Any) -> Any:
        peer = self._peer
        if request.request_id not in peer.declared:
            name = f"models/m{len(peer.uploaded) + 1}"
            peer.declared[request.request_id] = name, request
            peer.uploaded[name] = model_pb2.Model(
                name=name,
                display_name=request.display_name,
                format=request.format,
                state=model_pb2.MODEL_STATE_UPLOADING,
                source=artifact_pb2.Artifact(size_bytes=request.declaration.size_bytes),
            )
        name = peer.declared[request.request_id][0]
        return model_pb2.CreateModelResponse(model=peer.uploaded[name], grant=_grant(peer, name))

    def GrantModelUpload(self, request: Any, context: Any) -> Any:
        return model_pb2.GrantModelUploadResponse(grant=_grant(self._peer, request.name))

    def CompleteModel(self, request: Any, context: Any) -> Any:
        model = _find(self._peer.uploaded, request.name)
        model.state = model_pb2.MODEL_STATE_READY
        return model_pb2.CompleteModelResponse(model=model)

    def GetUploadedModel(self, request: Any, context: Any) -> Any:
        return model_pb2.GetUploadedModelResponse(model=_find(self._peer.uploaded, request.name))

    def ListModels(self, request: Any, context: Any) -> Any:
        rows, token = _page(list(self._peer.uploaded.values())[::-1], request)
        return model_pb2.ListModelsResponse(models=rows, next_page_token=token)

    def DeleteModel(self, request: Any, context: Any) -> Any:
        _find(self._peer.uploaded, request.name)
        del self._peer.uploaded[request.name]
        return model_pb2.DeleteModelResponse()


class _Jobs(job_pb2_grpc.JobServiceServicer):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def CreateJob(self, request: job_pb2.CreateJobRequest, context: Any) -> Any:
        peer = self._peer
        if request.request_id not in peer.requests:
            name = f"jobs/j{len(peer.jobs) + 1}"
            peer.requests[request.request_id] = name
            peer.jobs[name] = job_pb2.Job(name=name, spec=request.spec, state=job_pb2.JOB_STATE_PENDING)
        return job_pb2.CreateJobResponse(job=peer.jobs[peer.requests[request.request_id]])

    def GetJob(self, request: Any, context: Any) -> Any:
        return job_pb2.GetJobResponse(job=_find(self._peer.jobs, request.name))

    def ListJobs(self, request: Any, context: Any) -> Any:
        rows, token = _page(list(self._peer.jobs.values())[::-1], request)
        return job_pb2.ListJobsResponse(jobs=rows, next_page_token=token)

    def CancelJob(self, request: Any, context: Any) -> Any:
        job = _find(self._peer.jobs, request.name)
        if job.state < job_pb2.JOB_STATE_CANCELLING:
            job.state = job_pb2.JOB_STATE_CANCELLED
        return job_pb2.CancelJobResponse(job=job)

    def DeleteJob(self, request: Any, context: Any) -> Any:
        job = _find(self._peer.jobs, request.name)
        if job.state < job_pb2.JOB_STATE_SUCCEEDED:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, f"{job.name} has not ended", reason="NOT_ENDED")
        del self._peer.jobs[request.name]
        return job_pb2.DeleteJobResponse()

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        _find(self._peer.jobs, request.name)
        yield from self._peer.watch(self._peer.calls["WatchJob"])

    def GetModel(self, request: Any, context: Any) -> Any:
        models = self._peer.models
        if not models:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "no round is merged yet", reason="NO_MODEL")
        number = request.round or max(models)
        if self._peer.folder and self._peer.made.wait(request.wait_seconds):
            return job_pb2.GetModelResponse(round=number, files=self._peer.folder, exported=True)
        return job_pb2.GetModelResponse(round=number, files=models[number])

    def GetRound(self, request: Any, context: Any) -> Any:
        job, _, number = request.name.partition("/rounds/")
        found = next((row for row in _find(self._peer.jobs, job).rounds if row.number == int(number)), None)
        if found is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}", reason="NOT_FOUND")
        return job_pb2.GetRoundResponse(round=found)


class _Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    def ListArchitectures(self, request: Any, context: Any) -> Any:
        return catalog_pb2.ListArchitecturesResponse(architectures=[MLP, NOOP])


class _Operator(operator_pb2_grpc.OperatorServiceServicer):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def ListWorkers(self, request: Any, context: Any) -> Any:
        rows, token = _page(self._peer.workers, request)
        return operator_pb2.ListWorkersResponse(workers=rows, next_page_token=token)


def model_file(path: str, content: bytes, artifact: artifact_pb2.Artifact | None = None) -> job_pb2.ModelFile:
    """A file of a model's folder, inline unless it has an artifact."""
    digest = hashlib.sha256(content).hexdigest()
    if artifact is not None:
        return job_pb2.ModelFile(path=path, artifact=artifact, sha256=digest)
    return job_pb2.ModelFile(path=path, inline=content, sha256=digest)
