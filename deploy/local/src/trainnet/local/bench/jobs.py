"""Jobs as the contract has them: benchmarks read timestamps that the client's plain values leave out."""

import grpc

from trainnet.local.endpoints import Endpoints
from trainnet.v1 import job_pb2, job_pb2_grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def whole_job(endpoints: Endpoints, name: str) -> job_pb2.Job:
    """A job with every round and its manifest."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(endpoints.grpc, options) as channel:
        answer = job_pb2_grpc.JobServiceStub(channel).GetJob(
            job_pb2.GetJobRequest(name=name), metadata=(("authorization", f"Bearer {endpoints.token}"),), timeout=30
        )
    return answer.job
