"""The use cases on a real database and object store, with a clock that the test turns."""

import itertools
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, select

from services.coordinator.tests.support import declaration, noop_spec, safetensors, store_part
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.scheduling import Match
from trainnet.coordinator.housekeeping import Housekeeping
from trainnet.coordinator.sessions import Sessions
from trainnet.coordinator.settings import CoordinatorSettings
from trainnet.coordinator.storage.database import Effects
from trainnet.coordinator.storage.opening import open_database
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.datasets import Datasets
from trainnet.coordinator.usecases.giving_up import GivingUp
from trainnet.coordinator.usecases.jobs import Jobs
from trainnet.coordinator.usecases.leases import Leases
from trainnet.coordinator.usecases.merging import Merging
from trainnet.coordinator.usecases.model_files import ModelFiles
from trainnet.coordinator.usecases.models import Models
from trainnet.coordinator.usecases.offers import Offers
from trainnet.coordinator.usecases.results import Answer, Results
from trainnet.coordinator.usecases.retention import Retention
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.coordinator.usecases.workers import Workers
from trainnet.runtime import digest
from trainnet.runtime.store import ObjectStore
from trainnet.v1 import artifact_pb2, job_pb2, merge_pb2, operator_pb2, task_pb2, worker_pb2

TTL = 20.0
DATABASE = "scene.db"


class Scene:
    """One replica's use cases; `replica()` makes a second one on the same database."""

    def __init__(self, settings: CoordinatorSettings, store: ObjectStore) -> None:
        self.settings, self.store = settings, store
        self.now = 1_000_000.0
        self.database = open_database(settings.database_url)
        self.told: list[Effects] = []
        self.database.on_commit = self.told.append
        clock = lambda: self.now  # noqa: E731
        uploads = Uploads(store, settings.url_ttl)
        self.context = Context(self.database, store, uploads, settings, clock, clock)
        self.workers, self.datasets, self.jobs = Workers(self.context), Datasets(self.context), Jobs(self.context)
        self.models = Models(self.context)
        self.files = ModelFiles(self.context)
        self.offers = Offers(self.context)
        self.giving_up = GivingUp(self.context, self.datasets)
        self.leases = self.replica("r-1")
        self.results = Results(self.context, self.datasets, self.jobs)
        self.merging = Merging(self.context, self.giving_up)
        self.retention = Retention(self.context)
        self._numbers = itertools.count(1)

    def replica(self, name: str) -> Leases:
        return Leases(self.context, self.giving_up, name)

    async def close(self) -> None:
        await self.database.close()

    # --- rows ---

    async def rows(self, table: Table, **where: Any) -> list[Row[Any]]:
        query = select(table)
        for name, value in where.items():
            query = query.where(table.c[name] == value)
        async with self.database.read() as tx:
            return await tx.all(query)

    async def row(self, table: Table, **where: Any) -> Row[Any]:
        (only,) = await self.rows(table, **where)
        return only

    # --- peers ---

    async def worker(self, name: str = "ada", incarnation: str = "incarnation-1", *, join_token: str = "") -> str:
        """The id of a new worker with a session, trusted unless its join token says otherwise."""
        assert self.settings.join_token is not None
        answer = await self.workers.register(
            worker_pb2.RegisterRequest(
                request_id=secrets.token_hex(16),
                join_token=join_token or self.settings.join_token.get_secret_value(),
                display_name=name,
            )
        )
        worker = names.id_of(answer.worker)
        capabilities = worker_pb2.Capabilities(slots=1, architectures=ARCHITECTURES)
        await self.workers.describe(worker, "test", capabilities, paused=False)
        await self.leases.hello(worker, incarnation, [])
        return worker

    async def stranger(self, name: str) -> str:
        """The id of a new worker of the public pool with a session."""
        request = operator_pb2.CreateJoinTokenRequest(pool=job_pb2.POOL_PUBLIC)
        return await self.worker(name, join_token=await self.workers.create_join_token(request))

    async def job(self, rounds: int = 1, shards: int = 1, **fields: Any) -> str:
        """The id of a new job that needs no data."""
        job = await self.jobs.create(f"request-{next(self._numbers)}", noop_spec(rounds, shards, **fields))
        return names.id_of(job.name)

    async def offer(self, worker: str) -> int:
        """Assigns the ready task that should go out first; answers the fence."""
        rows = {row.id: row for row in await self.offers.ready(trusted=True, architectures=ARCHITECTURES, limit=10)}
        (offer,) = await self.offers.offer([Match(next(iter(rows)), worker)], rows)
        return offer.fence

    async def lease(self, worker: str) -> int:
        fence = await self.offer(worker)
        assert await self.leases.accept(worker, fence) is not None
        return fence

    async def upload(self, worker: str, fence: int, output: str = "update", data: bytes = safetensors([1.0])) -> Answer:
        """Stores an output; answers the refusal where there is one."""
        request = worker_pb2.UploadRequest(fence=fence, output=output, declaration=declaration(data))
        answer = await self.results.grant(worker, request, secrets.token_hex(4))
        if isinstance(answer, artifact_pb2.UploadGrant):
            await store_part(answer, data)
            return Answer(worker_pb2.OUTCOME_UNSPECIFIED)
        return answer

    async def complete(
        self, worker: str, fence: int, output: str = "update", data: bytes = safetensors([1.0]), **result: Any
    ) -> Answer:
        outputs = [task_pb2.TaskOutput(output=output, digest=digest.of_bytes(data))]
        return await self.results.complete(worker, fence, task_pb2.TaskResult(outputs=outputs, **result))

    async def done(self, worker: str, output: str = "update") -> int:
        """Leases the next task, uploads and completes it; answers its fence."""
        fence = await self.lease(worker)
        await self.upload(worker, fence, output)
        answer = await self.complete(worker, fence, output)
        assert answer.outcome == worker_pb2.OUTCOME_RECEIVED, answer
        return fence

    async def training(self, worker: str, **job: Any) -> str:
        """A job whose first round is open."""
        job_id = await self.job(**job)
        await self.done(worker, "base")
        return job_id

    async def claim(self, kind: task_pb2.TaskKind, name: str = "agg") -> merge_pb2.MergeTask:
        request = merge_pb2.ClaimRequest(aggregator=name, kinds=[kind], max_tasks=1)
        (task,) = await self.merging.claim(request)
        return task

    async def check(self, *, accept: bool = True) -> int:
        task = await self.claim(task_pb2.TASK_KIND_CHECK)
        await self.verdict(task.fence, accept=accept)
        return task.fence

    async def verdict(self, fence: int, *, accept: bool = True) -> None:
        await self.merging.report_check(
            merge_pb2.ReportCheckRequest(fence=fence, accepted=accept, reason="NORM", message="by script", norm=1.0)
        )

    async def merge(self, task: merge_pb2.MergeTask | None = None) -> merge_pb2.ReportMergeRequest:
        claimed = task or await self.claim(task_pb2.TASK_KIND_MERGE)
        data = safetensors([float(claimed.fence)])
        info = self.store.put(claimed.merge.key, data)
        report = merge_pb2.ReportMergeRequest(
            fence=claimed.fence,
            merged=artifact_pb2.Artifact(key=info.key, digest=str(info.sha256), size_bytes=info.size),
            sha256="0" * 64,
        )
        if claimed.merge.optimizer_key:
            state = self.store.put(claimed.merge.optimizer_key, safetensors([float(claimed.fence), 1.0]))
            report.optimizer_state.CopyFrom(
                artifact_pb2.Artifact(key=state.key, digest=str(state.sha256), size_bytes=state.size)
            )
            report.optimizer_state_sha256 = "1" * 64
        if claimed.merge.copy_key:
            copy = self.store.put(claimed.merge.copy_key, safetensors([float(claimed.fence), 2.0]))
            report.copy.CopyFrom(artifact_pb2.Artifact(key=copy.key, digest=str(copy.sha256), size_bytes=copy.size))
            report.copy_sha256 = "2" * 64
        await self.merging.report_merge(report)
        return report

    async def whole_round(self, worker: str, shards: int = 1) -> None:
        for _ in range(shards):
            await self.done(worker)
            await self.check()
        await self.merge()

    async def view(self, job_id: str) -> job_pb2.Job:
        return await self.jobs.get(names.job(job_id))

    def housekeeping(self, sessions: Sessions) -> Housekeeping:
        return Housekeeping(self.context, self.leases, self.giving_up, sessions, self.retention)


def keys(store: ObjectStore, prefixes: Iterable[str]) -> list[str]:
    """Keys of the objects below some prefixes."""
    return sorted(item.key for prefix in prefixes for item in store.list(prefix))


def settings_for(folder: Path, environment: dict[str, str], **values: Any) -> CoordinatorSettings:
    """The settings of a coordinator on this environment, with a database of its own."""
    given = {name.removeprefix("TRAINNET_").lower(): value for name, value in environment.items()}
    url = f"sqlite:///{folder / DATABASE}"
    return CoordinatorSettings.load(
        **{**given, "database_url": url, "lease_ttl": TTL, "claim_ttl": TTL, "accept_ttl": 10.0, **values}
    )
