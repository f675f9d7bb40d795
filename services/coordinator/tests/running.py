"""A coordinator in this process on real servers.

    async with Coordinator(infrastructure, tmp_path) as coordinator:
        worker = await coordinator.worker("ada")
        ...

Nothing here knows how the coordinator works inside: peers speak gRPC, NATS and presigned requests, like real ones.
"""

import asyncio
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import pytest

from services.coordinator.tests.peers import ScriptedAggregator, ScriptedWorker
from services.coordinator.tests.support import PATIENCE, environment, store_of, until
from trainnet.coordinator import app
from trainnet.coordinator.storage.opening import open_database
from trainnet.local.stack import LocalStack
from trainnet.v1 import (
    catalog_pb2_grpc,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    merge_pb2_grpc,
    model_pb2_grpc,
    operator_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)


def _read(path: Path) -> str | None:
    return path.read_text().strip() or None if path.exists() else None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class Coordinator:
    """`app.main` in this loop, on a free port, until the block ends; on a SQLite file or on the database named."""

    def __init__(self, infrastructure: LocalStack, folder: Path, *, database_url: str = "", **settings: object) -> None:
        stack, self.folder = infrastructure, folder
        assert stack.secrets is not None
        self.secrets = stack.secrets
        self.nats_url = stack.endpoints.nats
        self.url = database_url or f"sqlite:///{folder / 'coordinator.db'}"
        self.env = {
            **environment(stack, folder),
            "TRAINNET_LISTEN": "127.0.0.1:0",
            "TRAINNET_DATABASE_URL": self.url,
            "TRAINNET_READY_FILE": str(folder / "ready"),
            "TRAINNET_DRAIN_GRACE": "0.5",
            **{f"TRAINNET_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.store = store_of(stack)
        self._ready = Path(self.env["TRAINNET_READY_FILE"])
        self._peers: list[ScriptedWorker] = []
        self._channels: list[grpc.aio.Channel] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        _remove(self._ready)
        self._stop = asyncio.Event()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            self._main = asyncio.create_task(app.main(self._stop))

            async def port() -> str | None:
                if self._main.done():
                    self._main.result()
                return _read(self._ready)

            self.address = f"127.0.0.1:{await until(port, 'the coordinator')}"
        self.database = open_database(self.url)
        self._connect()

    def _connect(self) -> None:
        admin, aggregator = self.channel(self.secrets.admin_token), self.channel(self.secrets.aggregator_token)
        self.jobs = job_pb2_grpc.JobServiceStub(admin)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(admin)
        self.models = model_pb2_grpc.ModelServiceStub(admin)
        self.operator = operator_pb2_grpc.OperatorServiceStub(admin)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(admin)
        self.merge = merge_pb2_grpc.MergeServiceStub(aggregator)
        self.registration = worker_pb2_grpc.WorkerServiceStub(self.channel())
        self.aggregator = ScriptedAggregator(self.merge, self.store)

    def channel(self, token: str = "") -> grpc.aio.Channel:
        """A connection of its own, whose calls carry the token."""
        channel = grpc.aio.insecure_channel(
            self.address,
            options=[("grpc.use_local_subchannel_pool", 1)],
            interceptors=[_UnaryToken(token), _StreamToken(token)] if token else [],
        )
        self._channels.append(channel)
        return channel

    async def stop(self) -> None:
        for peer in self._peers:
            peer.leave()
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        self._stop.set()
        await asyncio.wait_for(self._main, PATIENCE)
        await self.database.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self.store.close()

    # --- peers ---

    async def register(
        self, name: str = "ada", join_token: str = "", request_id: str = ""
    ) -> worker_pb2.RegisterResponse:
        answer: worker_pb2.RegisterResponse = await self.registration.Register(
            worker_pb2.RegisterRequest(
                request_id=request_id or secrets.token_hex(16),
                join_token=join_token or self.secrets.join_token,
                display_name=name,
            )
        )
        return answer

    async def worker(self, name: str = "ada", *, slots: int = 1, **hello: Any) -> "ScriptedWorker":
        """A new worker of the trusted pool with an open session."""
        identity = await self.register(name)
        return await self.session(identity, slots=slots, **hello)

    async def session(self, identity: worker_pb2.RegisterResponse, *, slots: int = 1, **hello: Any) -> "ScriptedWorker":
        """A session of a registered worker, on a connection of its own."""
        peer = ScriptedWorker(self.channel(), identity, slots)
        self._peers.append(peer)
        await peer.hello(**hello)
        return peer

    # --- what owners do ---

    async def create(self, spec: job_pb2.JobSpec, request_id: str = "") -> job_pb2.Job:
        request = job_pb2.CreateJobRequest(request_id=request_id or secrets.token_hex(8), spec=spec)
        answer: job_pb2.CreateJobResponse = await self.jobs.CreateJob(request)
        return answer.job

    async def job(self, name: str) -> job_pb2.Job:
        answer: job_pb2.GetJobResponse = await self.jobs.GetJob(job_pb2.GetJobRequest(name=name))
        return answer.job

    async def job_in(self, name: str, state: str) -> job_pb2.Job:
        async def look() -> job_pb2.Job | None:
            job = await self.job(name)
            return job if job.state == job_pb2.JobState.Value(f"JOB_STATE_{state}") else None

        return await until(look, f"{name} {state}")


def _with_token(details: Any, token: str) -> Any:
    timeout = PATIENCE if details.timeout is None else details.timeout
    return details._replace(metadata=(("authorization", f"Bearer {token}"),), timeout=timeout)


class _UnaryToken(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_token(client_call_details, self._token), request)


class _StreamToken(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_token(client_call_details, self._token), request)
