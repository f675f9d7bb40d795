"""The voice of a worker that is down: a session with its own token, in which anything can be said."""

import hashlib
import json
import queue
from collections.abc import Iterator

import grpc

from tests.support.stacks import Stack
from trainnet.v1 import artifact_pb2, task_pb2, worker_pb2, worker_pb2_grpc

ANSWER_SECONDS = 30.0


def answers_to(stack: Stack, child: str, fence: int) -> dict[str, worker_pb2.Outcome]:
    """What the coordinator answers to everything that the holder of `fence` could say about it."""
    digest = hashlib.sha256(b"too late").digest()
    output = task_pb2.TaskOutput(output="update", digest=f"sha256:{digest.hex()}")
    declaration = artifact_pb2.UploadDeclaration(size_bytes=8, part_sha256=[digest])
    words = {
        "accept": worker_pb2.ConnectRequest(accept=worker_pb2.Accept(fence=fence)),
        "progress": worker_pb2.ConnectRequest(progress=worker_pb2.Progress(fence=fence, step=1, total_steps=2)),
        "artifact_request": worker_pb2.ConnectRequest(artifact_request=worker_pb2.ArtifactRequest(fence=fence)),
        "upload_request": worker_pb2.ConnectRequest(
            upload_request=worker_pb2.UploadRequest(fence=fence, output="update", declaration=declaration)
        ),
        "complete": worker_pb2.ConnectRequest(
            complete=worker_pb2.Complete(fence=fence, result=task_pb2.TaskResult(outputs=[output]))
        ),
        "fail": worker_pb2.ConnectRequest(
            fail=worker_pb2.Fail(fence=fence, reason=worker_pb2.FAIL_REASON_WORKER, message="too late")
        ),
    }
    identity = json.loads((stack.local.data_dir / "workers" / child.rpartition("-")[2] / "worker.json").read_bytes())
    hello = worker_pb2.Hello(
        worker=identity["worker"],
        incarnation="too-late",
        version="late",
        capabilities=worker_pb2.Capabilities(slots=1, device="cpu", threads=1),
        # Paused: this session takes no work of its own.
        state=worker_pb2.Heartbeat(paused=True),
    )
    outgoing: queue.SimpleQueue[worker_pb2.ConnectRequest | None] = queue.SimpleQueue()
    outgoing.put(worker_pb2.ConnectRequest(hello=hello))
    metadata = (("authorization", f"Bearer {identity['token']}"),)
    with grpc.insecure_channel(stack.local.endpoints.grpc) as channel:
        call = worker_pb2_grpc.WorkerServiceStub(channel).Connect(
            iter(outgoing.get, None), metadata=metadata, timeout=ANSWER_SECONDS
        )
        try:
            return {name: _outcome(call, outgoing, message, fence) for name, message in words.items()}
        finally:
            call.cancel()


def _outcome(
    call: Iterator[worker_pb2.ConnectResponse],
    outgoing: "queue.SimpleQueue[worker_pb2.ConnectRequest | None]",
    message: worker_pb2.ConnectRequest,
    fence: int,
) -> worker_pb2.Outcome:
    outgoing.put(message)
    for answer in call:
        if answer.WhichOneof("message") == "result" and answer.result.fence == fence:
            return answer.result.outcome
    raise AssertionError(f"the session ended without an answer to {message}")
