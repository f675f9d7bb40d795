"""Bad input over gRPC: the code, the field, and a message that says what to do; nothing half-created."""

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.support import declaration, noop_spec, refused
from trainnet.coordinator.storage.schema import datasets, jobs, tasks
from trainnet.local.stack import LocalStack
from trainnet.v1 import artifact_pb2, catalog_pb2, dataset_pb2, job_pb2, operator_pb2, worker_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ARCHITECTURES = "bert, cnn, distilbert, gpt2, mlp, mobilenet_v2, noop, vit, whisper"
NO_RESNET = f"there is no architecture resnet: use one of {ARCHITECTURES}"
MISSING = "datasets/nothing-here"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-input")


@pytest.fixture
async def coordinator(infrastructure: LocalStack, shared_folder: Path) -> AsyncIterator[Coordinator]:
    """One database for all: nothing here may leave anything in it."""
    async with Coordinator(infrastructure, shared_folder) as running:
        yield running
        async with running.database.read() as tx:
            for table in (jobs, datasets, tasks):
                assert await tx.all(table.select()) == []


def mlp(**hyperparameters: Any) -> job_pb2.JobSpec:
    spec = noop_spec()
    spec.architecture = "mlp"
    spec.dataset = MISSING
    spec.hyperparameters.CopyFrom(struct_pb2.Struct())
    for name, value in hyperparameters.items():
        if isinstance(value, float) and math.isnan(value):
            spec.hyperparameters.fields[name].number_value = value
        else:
            spec.hyperparameters[name] = value
    return spec


def changed(change: Callable[[job_pb2.JobSpec], Any]) -> job_pb2.JobSpec:
    spec = noop_spec()
    change(spec)
    return spec


JOBS = [
    (changed(lambda spec: spec.ClearField("plan")), "spec.plan", "value is required"),
    (changed(lambda spec: setattr(spec.plan, "shards", 0)), "spec.plan.shards", "greater than or equal to 1"),
    (changed(lambda spec: setattr(spec.plan, "shards", 100_001)), "spec.plan.shards", "less than or equal to 100000"),
    (
        changed(lambda spec: setattr(spec.plan, "holdout_fraction", 1.5)),
        "spec.plan.holdout_fraction",
        "less than or equal to 0.9",
    ),
    (changed(lambda spec: setattr(spec, "rounds", 0)), "spec.rounds", "greater than or equal to 1"),
    (changed(lambda spec: setattr(spec, "epochs", -1)), "spec.epochs", "greater than or equal to 0"),
    (changed(lambda spec: setattr(spec, "architecture", "")), "spec.architecture", "at least 1 character"),
    (changed(lambda spec: setattr(spec, "dataset", "Iris")), "spec.dataset", "does not match regex pattern"),
    (changed(lambda spec: setattr(spec, "pool", 9)), "spec.pool", "one of the defined enum values"),
    (
        changed(lambda spec: setattr(spec.merge, "max_update_norm", float("nan"))),
        "spec.merge.max_update_norm",
        "finite",
    ),
    (
        changed(lambda spec: setattr(spec, "architecture", "resnet")),
        "spec.architecture",
        NO_RESNET,
    ),
    (
        changed(lambda spec: setattr(spec, "dataset", MISSING)),
        "spec.dataset",
        "noop takes no data set: leave it out",
    ),
    (
        mlp(learning_rate="fast"),
        "spec.hyperparameters.learning_rate",
        "learning_rate must be a number from 1e-07 to 10, not 'fast'",
    ),
    (
        mlp(learning_rate=float("nan")),
        "spec.hyperparameters.learning_rate",
        "learning_rate must be a number from 1e-07 to 10, not nan",
    ),
    (
        mlp(batch_size=0),
        "spec.hyperparameters.batch_size",
        "batch_size must be a whole number from 1 to 65536, not 0",
    ),
    (
        mlp(hidden={"a": 1}),
        "spec.hyperparameters.hidden",
        "hidden must be a list of 1 to 16 whole numbers from 1 to 65536, not {'a': 1.0}",
    ),
    (
        mlp(lerning_rate=0.1),
        "spec.hyperparameters.lerning_rate",
        "mlp has no hyperparameter lerning_rate: did you mean learning_rate?",
    ),
]


async def test_a_bad_job_is_refused_by_field(coordinator: Coordinator) -> None:
    for spec, field, message in JOBS:
        async with refused(INVALID) as found:
            await coordinator.create(spec)
        (error,) = found
        assert {violation.field for violation in error.violations} == {field}, error
        assert any(message in violation.description for violation in error.violations), error
        assert message in error.message, error


async def test_a_bad_request_id_is_refused(coordinator: Coordinator) -> None:
    async with refused(INVALID) as found:
        await coordinator.jobs.CreateJob(job_pb2.CreateJobRequest(request_id="a b", spec=noop_spec()))
    assert found[0].violations[0].field == "request_id"


async def test_names_that_do_not_exist_are_not_found(coordinator: Coordinator) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: coordinator.create(mlp()),
        lambda: coordinator.job("jobs/nothing-here"),
        lambda: coordinator.jobs.CancelJob(job_pb2.CancelJobRequest(name="jobs/nothing-here")),
        lambda: coordinator.jobs.DeleteJob(job_pb2.DeleteJobRequest(name="jobs/nothing-here")),
        lambda: coordinator.jobs.GetModel(job_pb2.GetModelRequest(name="jobs/nothing-here")),
        lambda: coordinator.jobs.GetRound(job_pb2.GetRoundRequest(name="jobs/nothing-here/rounds/1")),
        lambda: coordinator.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=MISSING)),
        lambda: coordinator.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(name=MISSING)),
        lambda: coordinator.datasets.CompleteDataset(dataset_pb2.CompleteDatasetRequest(name=MISSING)),
        lambda: coordinator.datasets.GrantDatasetUpload(dataset_pb2.GrantDatasetUploadRequest(name=MISSING)),
        lambda: coordinator.operator.GetWorker(operator_pb2.GetWorkerRequest(name="workers/nothing-here")),
        lambda: coordinator.operator.BanWorker(operator_pb2.BanWorkerRequest(name="workers/nothing-here")),
        lambda: coordinator.operator.DrainWorker(operator_pb2.DrainWorkerRequest(name="workers/nothing-here")),
    ]
    for call in calls:
        async with refused(grpc.StatusCode.NOT_FOUND) as found:
            await call()
        assert "nothing-here" in found[0].message
        assert found[0].message.endswith("does not exist")
    async with refused(grpc.StatusCode.NOT_FOUND) as found:
        await coordinator.catalog.GetArchitecture(catalog_pb2.GetArchitectureRequest(architecture="resnet"))
    assert found[0].message == NO_RESNET


async def test_a_name_of_the_wrong_shape_is_refused(coordinator: Coordinator) -> None:
    async with refused(INVALID) as found:
        await coordinator.job("datasets/x")
    assert found[0].violations[0].field == "name"
    async with refused(INVALID) as found:
        await coordinator.jobs.ListJobs(job_pb2.ListJobsRequest(page_token="made-up"))
    assert found[0].violations[0].field == "page_token"
    assert found[0].message == "page_token is not one that a list answered"


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"format": 0}, "format", "must not be in list [0]"),
        ({"display_name": ""}, "display_name", "at least 1 character"),
        ({"declaration": declaration(b"")}, "declaration.size_bytes", "greater than 0"),
        (
            {"declaration": artifact_pb2.UploadDeclaration(size_bytes=1, part_sha256=[b"short"])},
            "declaration.part_sha256[0]",
            "32 bytes",
        ),
        (
            {"declaration": artifact_pb2.UploadDeclaration(size_bytes=200 << 20, part_sha256=[bytes(32)])},
            "declaration.part_sha256",
            "209715200 bytes are 4 parts of 67108864 bytes, 1 digests were declared",
        ),
    ],
)
async def test_a_bad_data_set_is_refused_by_field(
    coordinator: Coordinator, fields: dict[str, Any], field: str, message: str
) -> None:
    given = {"display_name": "t", "format": dataset_pb2.DATASET_FORMAT_CSV, "declaration": declaration(b"x"), **fields}
    async with refused(INVALID) as found:
        await coordinator.datasets.CreateDataset(dataset_pb2.CreateDatasetRequest(request_id="r", **given))
    assert field in [violation.field for violation in found[0].violations]
    assert message in found[0].message


async def test_a_bad_registration_is_refused(coordinator: Coordinator) -> None:
    async with refused(INVALID) as found:
        await coordinator.registration.Register(worker_pb2.RegisterRequest(request_id="short", join_token="t"))
    assert {violation.field for violation in found[0].violations} == {"request_id", "display_name"}
