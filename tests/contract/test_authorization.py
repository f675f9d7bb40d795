"""Who may call what is decided in one table; nothing in the contract may be missing there, nor be there for nothing."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from trainnet.coordinator.transport.auth import ALLOWED, Role, allowed
from trainnet.v1 import catalog_pb2, dataset_pb2, job_pb2, merge_pb2, model_pb2, operator_pb2, worker_pb2

FILES: list[FileDescriptor] = [
    module.DESCRIPTOR for module in (catalog_pb2, dataset_pb2, job_pb2, merge_pb2, model_pb2, operator_pb2, worker_pb2)
]


def methods() -> Iterator[MethodDescriptor]:
    for file in FILES:
        for service in file.services_by_name.values():
            yield from service.methods


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@pytest.mark.parametrize("method", [path(method) for method in methods()])
def test_somebody_may_call_it(method: str) -> None:
    roles = allowed(method)
    assert roles is None or roles, f"nobody may call {method}: it is missing from the table"


def test_only_registration_is_open_to_everybody() -> None:
    assert [path(method) for method in methods() if allowed(path(method)) is None] == [
        "/trainnet.v1.WorkerService/Register"
    ]


def test_the_table_names_nothing_that_is_not_there() -> None:
    services = {method.containing_service.full_name for method in methods()}
    calls = {path(method).lstrip("/") for method in methods()}
    ours = {entry for entry in ALLOWED if entry.startswith("trainnet.")}
    assert ours <= services | calls


def test_workers_and_aggregators_reach_their_own_calls_only() -> None:
    reached = {role: {path(method) for method in methods() if role in (allowed(path(method)) or ())} for role in Role}
    assert reached[Role.WORKER] == {"/trainnet.v1.WorkerService/Connect"}
    assert {call.split("/")[1] for call in reached[Role.AGGREGATOR]} == {"trainnet.v1.MergeService"}


def test_an_unknown_call_is_refused() -> None:
    assert allowed("/trainnet.v1.JobService2/GetJob") == frozenset()
    assert allowed("/trainnet.v1.WorkerService/Unknown") == frozenset()
