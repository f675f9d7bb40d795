"""Calls to the coordinator: a channel, the token, deadlines and retries."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import grpc

from trainnet.client._config import Endpoint
from trainnet.client._errors import ConnectionFailed
from trainnet.client._status import translate
from trainnet.v1 import catalog_pb2_grpc, dataset_pb2_grpc, job_pb2, job_pb2_grpc, model_pb2_grpc, operator_pb2_grpc

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")

# gRPC waits up to two minutes between attempts to connect by default; a coordinator is back within seconds.
_CHANNEL_OPTIONS: list[tuple[str, int]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A dead path is seen within 40 s, also in the middle of a quiet watch.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
]

_STREAM_DEADLINE_S = 3600.0
_CLOSE_S = 2.0


@dataclass(frozen=True)
class Retry:
    """How long a call is repeated while the coordinator is away, in seconds.

    Pauses are drawn evenly from 0 to a bound that doubles from `base` to `cap` ("full jitter"), so that many clients
    do not return at the same instant. A coordinator that never answered gets `first_contact` only: most likely the
    address is wrong, and a person waits. A broken watch is repaired for `watch`.
    """

    base: float = 0.1
    cap: float = 2.0
    first_contact: float = 4.0
    budget: float = 30.0
    watch: float = 300.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after failure number `attempt`, from 0."""
        return random.uniform(0, min(self.cap, self.base * 2 ** min(attempt, 30)))


class Connection:
    """One channel to one coordinator. Threads may share it."""

    def __init__(self, endpoint: Endpoint, retry: Retry) -> None:
        self.address = endpoint.target
        self.retry = retry
        if endpoint.secure:
            self._channel = grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(), _CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.target, _CHANNEL_OPTIONS)
        self._metadata = (("authorization", f"Bearer {endpoint.token}"),) if endpoint.token else ()
        self._answered = False
        self.jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self.models = model_pb2_grpc.ModelServiceStub(self._channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self.operator = operator_pb2_grpc.OperatorServiceStub(self._channel)

    def close(self) -> None:
        """Ends every call and closes the channel."""
        # gRPC waits for its calls without a limit, and a call that Ctrl-C broke while it was being set up never ends.
        closing = threading.Thread(target=self._channel.close, name="close-channel", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def call(
        self, method: grpc.UnaryUnaryMultiCallable[_Request, _Answer], request: _Request, *, deadline: float = 30.0
    ) -> _Answer:
        """Calls an idempotent method, again while the coordinator is away. `deadline` is for each attempt.

        Raises an error of the tree.
        """
        start = time.monotonic()
        attempt = 0
        while True:
            limit = deadline if self._answered else min(deadline, 10.0)
            try:
                answer = method(request, timeout=limit, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = translate(error, self.address)
                if not isinstance(failure, ConnectionFailed):
                    self._answered = True
                    raise failure from None
                pause = self.retry.pause(attempt)
                budget = self.retry.budget if self._answered else self.retry.first_contact
                if time.monotonic() - start + pause > budget:
                    raise failure from None
                time.sleep(pause)
                attempt += 1
            else:
                self._answered = True
                return answer

    def watch(
        self, job: str, away: Callable[[float], None] | None = None
    ) -> Iterator[tuple[bool, job_pb2.WatchJobResponse]]:
        """Every message of WatchJob, over as many streams as it takes, and whether it is the first of its stream: that
        one has the whole job, and what was told of its tasks before it may have passed unseen.

        While there is none, `away` hears after each attempt for how many seconds that has been so.

        Ends only with its consumer. Raises ConnectionFailed when no stream could be opened for the budget.
        """
        down_since: float | None = None
        attempt = 0
        while True:
            first = True
            call = self.jobs.WatchJob(
                job_pb2.WatchJobRequest(name=job), timeout=_STREAM_DEADLINE_S, metadata=self._metadata
            )
            failure = ConnectionFailed(f"{self.address} ended the watch", hint="watch it again")
            try:
                for message in call:
                    self._answered, down_since, attempt = True, None, 0
                    yield first, message
                    first = False
            except grpc.RpcError as error:
                translated = translate(error, self.address)
                if not isinstance(translated, ConnectionFailed):
                    raise translated from None
                failure = translated
            finally:
                call.cancel()
            now = time.monotonic()
            down_since = now if down_since is None else down_since
            pause = self.retry.pause(attempt)
            budget = self.retry.watch if self._answered else self.retry.first_contact
            if now - down_since + pause > budget:
                raise failure
            if away is not None:
                away(now - down_since)
            time.sleep(pause)
            attempt += 1
