"""One task that the worker holds, from its lease to its answer."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from trainnet.v1.artifact_pb2 import Artifact, UploadDeclaration, UploadGrant
from trainnet.v1.task_pb2 import (
    TASK_PHASE_DOWNLOADING,
    TASK_PHASE_UPLOADING,
    TaskKind,
    TaskOutput,
    TaskPhase,
    TaskResult,
    TaskSpec,
)
from trainnet.v1.worker_pb2 import (
    FAIL_REASON_TASK,
    FAIL_REASON_WORKER,
    OUTCOME_DIGEST_MISMATCH,
    OUTCOME_INVALID,
    OUTCOME_STALE_FENCE,
    ArtifactRequest,
    Complete,
    ConnectRequest,
    ConnectResponse,
    Fail,
    FailReason,
    Outcome,
    UploadRequest,
)
from trainnet.worker.agent.bandwidth import Bandwidth
from trainnet.worker.agent.cache import ArtifactCache
from trainnet.worker.agent.exchange import Exchange
from trainnet.worker.agent.trainers import TrainerProcess
from trainnet.worker.agent.uploads import upload
from trainnet.worker.errors import TaskDropped, TaskError
from trainnet.worker.protocol import OutputFile, Step, input_artifacts

_UPLOADS_AT_ONCE = 4


@dataclass(eq=False)
class Work:
    """A held lease and how far it is."""

    fence: int
    kind: TaskKind
    spec: TaskSpec
    trainer: TrainerProcess
    step: Step = field(default_factory=lambda: Step(TASK_PHASE_DOWNLOADING))
    reporting: bool = False
    """Its complete or fail was sent: the coordinator may have let go of the lease already."""
    task: asyncio.Task[None] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def phase(self) -> TaskPhase:
        """What it does right now."""
        return self.step.phase

    def status(self) -> dict[str, Any]:
        """What people see of it."""
        return {
            "fence": self.fence,
            "kind": TaskKind.Name(self.kind).removeprefix("TASK_KIND_").lower(),
            "job": self.spec.job,
            "phase": TaskPhase.Name(self.phase).removeprefix("TASK_PHASE_").lower(),
            "step": self.step.step,
            "total_steps": self.step.total_steps,
            "loss": self.step.loss,
            "samples_per_s": self.step.samples_per_s,
        }


class Performer:
    """Downloads, runs, uploads, and tells how it went."""

    def __init__(
        self,
        exchange: Exchange,
        cache: ArtifactCache,
        http: aiohttp.ClientSession,
        bandwidth: Bandwidth,
        folder: Path,
        on_step: Callable[[Work, Step], None],
        on_report: Callable[[Work], None],
    ) -> None:
        self._exchange, self._cache, self._http, self._bandwidth = exchange, cache, http, bandwidth
        self._folder, self._on_step, self._on_report = folder, on_step, on_report
        self._log = structlog.get_logger(__name__)

    async def perform(self, work: Work) -> tuple[Outcome, TaskResult]:
        """Does a task and reports it. Answers how the report ended. Raises TaskDropped when the lease is lost."""
        log = self._log.bind(fence=work.fence, kind=TaskKind.Name(work.kind))
        # One folder per slot: making and removing one for each task costs more than a small task itself.
        out = self._folder / str(work.trainer.index)
        try:
            _empty_folder(out)
            result = await self._produce(work, out)
        except TaskError as error:
            log.warning("task failed", reason=error.reason, error=error.message)
            reason = FAIL_REASON_TASK if error.reason == "TASK" else FAIL_REASON_WORKER
            return await self.fail(work, reason, error.message), TaskResult()
        except OSError as error:
            log.warning("task failed", error=str(error))
            return await self.fail(
                work, FAIL_REASON_WORKER, f"the disk failed: {error.strerror or error}"
            ), TaskResult()
        self._reporting(work)
        answer = await self._ask(work, ConnectRequest(complete=Complete(fence=work.fence, result=result)))
        outcome = answer.result.outcome
        if outcome in {OUTCOME_INVALID, OUTCOME_DIGEST_MISMATCH}:
            log.error("the coordinator does not take the result", reason=answer.result.message)
            return await self.fail(work, FAIL_REASON_WORKER, f"result not taken: {answer.result.message}"), TaskResult()
        log.info("task done", seconds=round(time.monotonic() - work.started, 3), **_shown(result))
        return outcome, result

    async def fail(self, work: Work, reason: FailReason, message: str) -> Outcome:
        """Gives a task back."""
        self._reporting(work)
        fail = Fail(fence=work.fence, reason=reason, message=message[:2000])
        answer = await self._ask(work, ConnectRequest(fail=fail))
        return answer.result.outcome

    def _reporting(self, work: Work) -> None:
        if not work.reporting:
            self._on_report(work)
            work.reporting = True

    async def _produce(self, work: Work, out: Path) -> TaskResult:
        inputs: dict[str, Path] = {}
        pinned: list[str] = []
        uploads: list[asyncio.Task[TaskOutput]] = []
        limit = asyncio.Semaphore(_UPLOADS_AT_ONCE)

        def on_output(output: OutputFile) -> None:
            uploads.append(asyncio.create_task(self._upload(work, output, limit)))

        try:
            for name, artifact in input_artifacts(work.spec).items():
                inputs[name] = await self._cache.acquire(
                    artifact, self._refresher(work, name), shard=name in {"shard", "holdout"}
                )
                pinned.append(artifact.digest)
            result = await work.trainer.execute(
                work.spec, inputs, out, on_progress=lambda step: self._on_step(work, step), on_output=on_output
            )
            if uploads:
                self._on_step(work, Step(TASK_PHASE_UPLOADING, work.step.step, work.step.total_steps, work.step.loss))
                result.outputs.extend(await asyncio.gather(*uploads))
            return result
        finally:
            for digest in pinned:
                self._cache.release(digest)
            for task in uploads:
                task.cancel()
            await asyncio.gather(*uploads, return_exceptions=True)

    def _refresher(self, work: Work, name: str) -> Callable[[], asyncio.Future[Artifact]]:
        async def refresh() -> Artifact:
            answer = await self._ask(work, ConnectRequest(artifact_request=ArtifactRequest(fence=work.fence)))
            if answer.WhichOneof("message") != "artifacts":
                raise TaskError("WORKER", f"no fresh URLs for {name}: {answer.result.message}")
            return input_artifacts(answer.artifacts.spec)[name]

        return lambda: asyncio.ensure_future(refresh())

    async def _upload(self, work: Work, output: OutputFile, limit: asyncio.Semaphore) -> TaskOutput:
        request = ConnectRequest(
            upload_request=UploadRequest(
                fence=work.fence,
                output=output.output,
                declaration=UploadDeclaration(size_bytes=output.size, part_sha256=output.part_sha256),
            )
        )

        async def ask() -> UploadGrant:
            answer = await self._ask(work, request)
            if answer.WhichOneof("message") != "upload_grant":
                raise TaskError("WORKER", f"the upload of {output.output} is refused: {answer.result.message}")
            return answer.upload_grant.grant

        async with limit:
            digest = await upload(self._http, self._bandwidth, output.path, output.size, ask)
        output.path.unlink(missing_ok=True)
        return TaskOutput(output=output.output, digest=digest)

    async def _ask(self, work: Work, message: ConnectRequest) -> ConnectResponse:
        answer = await self._exchange.ask(message)
        if answer.WhichOneof("message") == "result" and answer.result.outcome == OUTCOME_STALE_FENCE:
            raise TaskDropped(answer.result.message or "the fence is stale")
        return answer


def _empty_folder(path: Path) -> None:
    """A folder for outputs, without what a dropped task left in it."""
    path.mkdir(parents=True, exist_ok=True)
    for left in list(path.iterdir()):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _shown(result: TaskResult) -> dict[str, float]:
    return {name: round(value, 4) for name, value in sorted(result.metrics.items())}
