"""What workers hand in: declared, uploaded, completed; an update waits for its check, the rest counts at once."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Executable, Row, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from trainnet.coordinator.domain import exports as domain_exports
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import AttemptState, RoundState, TaskKind, TaskState, UpdateState
from trainnet.coordinator.domain.text import plain_metrics
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.objects import artifact_values
from trainnet.coordinator.storage.schema import attempts, jobs, plans, rounds, shards, updates, uploads
from trainnet.coordinator.storage.statements import add, change, fetch, fetch_all
from trainnet.coordinator.usecases import carrying, evaluations, exports, shard_plans, starts
from trainnet.coordinator.usecases import rounds as life
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.datasets import Datasets, unusable
from trainnet.coordinator.usecases.jobs import Jobs
from trainnet.coordinator.usecases.uploads import declared
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import artifact_pb2, task_pb2, worker_pb2


@dataclass(frozen=True)
class Answer:
    outcome: worker_pb2.Outcome
    message: str = ""


UPDATE_ROOM = 1024 * 1024
"""Bytes that an update may have beside twice those of its base: fp64 deltas of fp32 weights, and a header."""

PARTS = ("bundle", "frozen")
"""What an INITIALIZE task may hand in beside the weights."""

STALE = Answer(worker_pb2.OUTCOME_STALE_FENCE, "the attempt is not live any more: stop and forget it")


def stale(row: Row[Any] | None, worker: str) -> Answer:
    """The answer to who speaks of an attempt that is not live: with the reason, where it was that worker's."""
    if row is None or row.holder != worker or not row.attempt_message:
        return STALE
    return Answer(worker_pb2.OUTCOME_STALE_FENCE, f"{STALE.message} ({row.attempt_message})")


class Results:
    def __init__(self, context: Context, datasets: Datasets, jobs_: Jobs) -> None:
        self._context = context
        self._datasets = datasets
        self._jobs = jobs_

    async def grant(
        self, worker: str, request: worker_pb2.UploadRequest, nonce: str
    ) -> artifact_pb2.UploadGrant | Answer:
        """Leave to upload one output. The first declaration of an attempt's output stands."""
        try:
            object_digest, part_size = declared(request.declaration, "declaration")
        except InvalidArgument as error:
            return Answer(worker_pb2.OUTCOME_INVALID, error.message)
        fence, output = request.fence, request.output
        async with self._context.database.read() as tx:
            task = await task_store.find(tx, fence)
            row = await _upload(tx, fence, output)
            trained = task is not None and task.kind == TaskKind.TRAIN
            base = await fetch(tx, rounds, job=task.job, number=task.round) if task is not None and trained else None
        if task is None or task.holder != worker or task.attempt_state != AttemptState.LEASED:
            return stale(task, worker)
        if base is not None and request.declaration.size_bytes > 2 * base.base_size + UPDATE_ROOM:
            size = request.declaration.size_bytes
            return Answer(
                worker_pb2.OUTCOME_INVALID, f"{size} bytes are no update of {base.base_size} bytes of weights"
            )
        if row is None:
            key = _key(task, output, nonce)
            if key is None:
                return Answer(worker_pb2.OUTCOME_INVALID, f"a task {task.kind} has no output {output}")
            upload_id = await self._context.uploads.begin(key, part_size)
            upload = {
                "fence": fence,
                "output": output,
                "object_key": key,
                "object_digest": object_digest,
                "object_size": request.declaration.size_bytes,
                "object_part_size": part_size,
                "declaration": request.declaration.SerializeToString(deterministic=True),
                "upload_id": upload_id,
            }
            async with self._context.database.write() as tx:
                if await fetch(tx, attempts, fence=fence) is not None:  # else its job was deleted meanwhile
                    await tx.execute(_insert_new(tx.dialect), upload)
                    await tx.execute(_DECLARED, {"by_fence": fence, "now": self._context.clock()})
                    row = await _upload(tx, fence, output)
            if row is None:
                await self._context.uploads.abandon(key, upload_id)
                return STALE
        if row.object_digest != object_digest or row.object_size != request.declaration.size_bytes:
            return Answer(worker_pb2.OUTCOME_DIGEST_MISMATCH, f"{output} was declared with other bytes before")
        return await self._context.uploads.grant(row.object_key, request.declaration, row.upload_id)

    async def complete(self, worker: str, fence: int, result: task_pb2.TaskResult) -> Answer:
        """Takes a result. A repeat gets the same answer, other bytes DIGEST_MISMATCH, a stale fence STALE_FENCE."""
        async with self._context.database.read() as tx:
            row = await task_store.find(tx, fence)
            stored = await fetch_all(tx, uploads, fence=fence)
        if row is None or row.holder != worker:
            return STALE
        if row.attempt_state != AttemptState.LEASED:
            return _repeated(row, result)
        problem = await self._unstored(row, stored, result)
        if problem is not None:
            return problem
        now = self._context.clock()
        objects = {item.output: _object(item) for item in stored}
        async with self._context.database.write() as tx:
            row = await task_store.find(tx, fence)
            if row is None or row.attempt_state != AttemptState.LEASED:
                return STALE if row is None else _repeated(row, result)
            await change(tx, uploads, {"fence": fence}, completed=True)
            checking = row.kind == TaskKind.TRAIN
            state = AttemptState.CHECKING if checking else AttemptState.DONE
            values = {"ended": None if checking else now, "received": now}
            # Only what a repeat is compared with: a stranger may put anything into the rest.
            handed_in = task_pb2.TaskResult(outputs=result.outputs).SerializeToString(deterministic=True)
            await change(tx, attempts, {"fence": fence}, state=state, result=handed_in, **values)
            target = TaskState.CHECKING if checking else TaskState.DONE
            await task_store.move(tx, row.id, (TaskState.LEASED,), target)
            tx.effects.workers_wanted = True
            if checking:
                await self._received(tx, row, objects["update"], result)
            else:
                await self._done(tx, row, objects, result, now)
        return Answer(worker_pb2.OUTCOME_RECEIVED)

    async def _unstored(self, row: Row[Any], stored: list[Row[Any]], result: task_pb2.TaskResult) -> Answer | None:
        """Why the result's objects cannot be taken, or None. An update is read by its check anyway, so only objects
        that nobody checks are looked up here."""
        by_output = {item.output: item for item in stored}
        problem = ""
        if row.kind == TaskKind.INSPECT:
            problem = unusable(result.inspect)
        if row.kind == TaskKind.PREPARE:
            async with self._context.database.read() as tx:
                plan = await fetch(tx, plans, id=row.plan)
            if plan is None:
                return STALE
            problem = shard_plans.unusable(plan, result.prepare)
        if row.kind == TaskKind.EXPORT:
            problem = domain_exports.unusable([item.output for item in result.outputs])
        if problem:
            return Answer(worker_pb2.OUTCOME_INVALID, problem)
        wanted = _outputs(row, result)
        if {item.output for item in result.outputs} != wanted:
            return Answer(
                worker_pb2.OUTCOME_INVALID, f"a task {row.kind} hands in {', '.join(sorted(wanted)) or 'nothing'}"
            )
        for item in result.outputs:
            upload = by_output.get(item.output)
            if upload is None:
                return Answer(worker_pb2.OUTCOME_INVALID, f"{item.output} was never granted")
            if upload.object_digest != item.digest:
                return Answer(
                    worker_pb2.OUTCOME_DIGEST_MISMATCH, f"{item.output} was granted with {upload.object_digest}"
                )
            declaration = artifact_pb2.UploadDeclaration.FromString(upload.declaration)
            there = upload.completed or await self._context.uploads.complete(
                upload.object_key, declaration, upload.upload_id, verify=row.kind != TaskKind.TRAIN
            )
            if not there:
                return Answer(worker_pb2.OUTCOME_INVALID, f"{item.output} is not stored whole: upload what is left")
        return None

    async def _received(
        self, tx: Transaction, row: Row[Any], stored: artifact_pb2.Artifact, result: task_pb2.TaskResult
    ) -> None:
        """An update waits for its check. Its weight is what the coordinator knows of the shard."""
        examples = 1
        query = (
            select(shards.c.rows)
            .join_from(jobs, shards, shards.c.plan == jobs.c.plan)
            .where(jobs.c.id == row.job, shards.c.shard == row.shard)
        )
        if row.shard_digest:
            shard = await tx.one(query)
            examples = shard.rows if shard is not None else 1
        received = {
            "fence": row.fence,
            "job": row.job,
            "round": row.round,
            "shard": row.shard,
            "worker": row.holder,
            "examples": examples,
            "state": UpdateState.RECEIVED,
            "metrics": json.dumps(plain_metrics(result.metrics)),
            **artifact_values("object", stored),
        }
        await add(tx, updates, received)
        round_row = await fetch(tx, rounds, job=row.job, number=row.round)
        if round_row is not None and round_row.state == RoundState.MERGING:
            return  # the next round takes it, and has it checked
        await task_store.add(tx, [carrying.check_task(row)], self._context.clock())

    async def _done(
        self,
        tx: Transaction,
        row: Row[Any],
        objects: dict[str, artifact_pb2.Artifact],
        result: task_pb2.TaskResult,
        now: float,
    ) -> None:
        """A trusted worker's result counts at once."""
        match row.kind:
            case TaskKind.INSPECT:
                await self._datasets.inspected(tx, row.dataset, result.inspect, now)
            case TaskKind.PREPARE:
                await shard_plans.prepared(tx, row.plan, objects, result.prepare, now)
            case TaskKind.INITIALIZE:
                handed_in = {item.output: objects[item.output] for item in result.outputs}
                await starts.initialized(tx, row.job, handed_in, result.initialize, now)
            case TaskKind.EVALUATE:
                metrics, confusion = plain_metrics(result.metrics), evaluations.sound(result)
                await life.round_evaluated(tx, row.job, row.round, metrics, confusion, now)
            case TaskKind.EXPORT:
                await exports.done(tx, row, {item.output: objects[item.output] for item in result.outputs})


_DECLARED = (
    update(attempts)
    .where(attempts.c.fence == bindparam("by_fence"), attempts.c.declared.is_(None))
    .values(declared=bindparam("now"))
)


@cache
def _insert_new(dialect: str) -> Executable:
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Executable = insert(uploads).on_conflict_do_nothing(index_elements=["fence", "output"])
    return statement


async def _upload(tx: Transaction, fence: int, output: str) -> Row[Any] | None:
    return await fetch(tx, uploads, fence=fence, output=output)


def _object(row: Row[Any]) -> artifact_pb2.Artifact:
    return artifact_pb2.Artifact(
        key=row.object_key,
        digest=row.object_digest,
        size_bytes=row.object_size,
        part_size_bytes=row.object_part_size or 0,
    )


def _key(task: Row[Any], output: str, nonce: str) -> str | None:
    """Where an output of a task goes; None when the task has no such output."""
    if task.kind == TaskKind.TRAIN and output == "update":
        return names.update_key(task.job, task.round, task.shard, task.fence, nonce)
    if task.kind == TaskKind.INITIALIZE and output == "base":
        return names.base_key(task.job, task.fence)
    if task.kind == TaskKind.INITIALIZE and output in PARTS:
        return names.part_key(task.job, output, task.fence)
    if task.kind == TaskKind.EXPORT:
        return exports.key_of(task, output)
    if task.kind == TaskKind.PREPARE and shard_plans.is_output(output):
        return names.prepared_key(task.plan, output, task.fence)
    return None


def _outputs(row: Row[Any], result: task_pb2.TaskResult) -> set[str]:
    """Outputs that a result must come with."""
    match row.kind:
        case TaskKind.TRAIN:
            return {"update"}
        case TaskKind.INITIALIZE:
            return {"base"} | {item.output for item in result.outputs if item.output in PARTS}
        case TaskKind.PREPARE:
            return shard_plans.outputs(result)
        case TaskKind.EXPORT:
            return {item.output for item in result.outputs}
    return set()


def _repeated(row: Row[Any], result: task_pb2.TaskResult) -> Answer:
    """The answer to a result that came before."""
    if row.result is None:
        return stale(row, row.holder)
    before = {item.output: item.digest for item in task_pb2.TaskResult.FromString(row.result).outputs}
    if before != {item.output: item.digest for item in result.outputs}:
        return Answer(worker_pb2.OUTCOME_DIGEST_MISMATCH, "this attempt handed in other bytes before")
    if row.attempt_state == AttemptState.REJECTED:
        return Answer(worker_pb2.OUTCOME_REJECTED, row.attempt_message)
    if row.attempt_state == AttemptState.DONE:
        outcome = worker_pb2.OUTCOME_ACCEPTED if row.kind == TaskKind.TRAIN else worker_pb2.OUTCOME_RECEIVED
        return Answer(outcome)
    if row.attempt_state == AttemptState.CHECKING:
        return Answer(worker_pb2.OUTCOME_RECEIVED)
    return stale(row, row.holder)
