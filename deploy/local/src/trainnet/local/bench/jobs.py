"""Jobs as the contract has them: benchmarks read timestamps that the client's plain values leave out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from trainnet.local.endpoints import Endpoints
from trainnet.v1 import job_pb2, job_pb2_grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def whole_job(endpoints: Endpoints, name: str) -> job_pb2.Job:
    """A job with every round and its manifest."""
    with _calling(endpoints) as (stub, how):
        return stub.GetJob(job_pb2.GetJobRequest(name=name), **how).job


def whole_round(endpoints: Endpoints, name: str) -> job_pb2.Round:
    """A round with its manifest, and with what its rule made of each update."""
    with _calling(endpoints) as (stub, how):
        return stub.GetRound(job_pb2.GetRoundRequest(name=name), **how).round


@contextmanager
def _calling(endpoints: Endpoints) -> Iterator[tuple[job_pb2_grpc.JobServiceStub, dict[str, Any]]]:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(endpoints.grpc, options) as channel:
        how = {"metadata": (("authorization", f"Bearer {endpoints.token}"),), "timeout": 30}
        yield job_pb2_grpc.JobServiceStub(channel), how
