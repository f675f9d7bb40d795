"""Strangers of the public pool who take work and never do it."""

import queue
import secrets
import threading
from types import TracebackType
from typing import Self

import grpc

from tests.support.stacks import Stack
from trainnet.v1 import job_pb2, operator_pb2, operator_pb2_grpc, worker_pb2, worker_pb2_grpc

ARCHITECTURES = ["noop", "mlp", "cnn"]


class Stranger:
    """While the block lasts, accepts whatever it is offered and gives it up in the given way: `fails` says that the
    task is at fault, `returns` hands it back, `vanishes` cuts the stream and comes back as if restarted."""

    def __init__(self, stack: Stack, how: str) -> None:
        self.spoiled = 0
        self._how, self._address = how, stack.local.endpoints.grpc
        with grpc.insecure_channel(self._address) as channel:
            admin = (("authorization", f"Bearer {stack.local.endpoints.token}"),)
            token = operator_pb2_grpc.OperatorServiceStub(channel).CreateJoinToken(
                operator_pb2.CreateJoinTokenRequest(pool=job_pb2.POOL_PUBLIC), metadata=admin, timeout=30
            )
            request = worker_pb2.RegisterRequest(
                request_id=secrets.token_hex(16), join_token=token.token, display_name=f"stranger-{how}"
            )
            self._identity = worker_pb2_grpc.WorkerServiceStub(channel).Register(request, timeout=30)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            with grpc.insecure_channel(self._address) as channel:
                try:
                    self._session(channel)
                except grpc.RpcError:
                    self._stop.wait(0.5)  # cut, refused or timed out: it comes again

    def _session(self, channel: grpc.Channel) -> None:
        outgoing: queue.SimpleQueue[worker_pb2.ConnectRequest | None] = queue.SimpleQueue()
        capabilities = worker_pb2.Capabilities(slots=2, device="cpu", threads=1, architectures=ARCHITECTURES)
        hello = worker_pb2.Hello(
            worker=self._identity.worker, incarnation=secrets.token_hex(8), version="x", capabilities=capabilities
        )
        outgoing.put(worker_pb2.ConnectRequest(hello=hello))
        metadata = (("authorization", f"Bearer {self._identity.worker_token}"),)
        call = worker_pb2_grpc.WorkerServiceStub(channel).Connect(iter(outgoing.get, None), metadata=metadata)
        asked: set[int] = set()
        try:
            for answer in call:
                if self._stop.is_set():
                    return
                kind = answer.WhichOneof("message")
                if kind == "desired_state":
                    for offered in answer.desired_state.assignments:
                        if offered.fence not in asked:
                            asked.add(offered.fence)
                            outgoing.put(worker_pb2.ConnectRequest(accept=worker_pb2.Accept(fence=offered.fence)))
                    self._stop.wait(0.05)
                    outgoing.put(worker_pb2.ConnectRequest(heartbeat=worker_pb2.Heartbeat()))
                elif kind == "lease":
                    self.spoiled += 1
                    if self._how == "vanishes":
                        return
                    released = self._how == "returns"
                    reason = worker_pb2.FAIL_REASON_RELEASED if released else worker_pb2.FAIL_REASON_TASK
                    fail = worker_pb2.Fail(fence=answer.lease.fence, reason=reason, message="I do not like it")
                    outgoing.put(worker_pb2.ConnectRequest(fail=fail))
        finally:
            outgoing.put(None)
            call.cancel()
