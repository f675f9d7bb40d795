"""Jobs with data for tests, trained and exported by script."""

import secrets
from collections.abc import Mapping
from typing import Any

from services.coordinator.tests.data import SCHEMA, cut, ready, spec
from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import safetensors
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import TaskKind
from trainnet.coordinator.usecases.results import Answer
from trainnet.runtime import digest
from trainnet.v1 import dataset_pb2, job_pb2, task_pb2, worker_pb2

WEIGHTS = safetensors([1.0, 2.0])
TEXTS = dataset_pb2.DataSchema(
    columns=[dataset_pb2.Column(name="text", kind=dataset_pb2.COLUMN_KIND_TEXT)],
    label="mood",
    rows=100,
    classes=[dataset_pb2.LabelClass(name=name, rows=50) for name in ("bad", "good")],
)
FOLDER = {"model/README.md": b"# card\n", "model/model.safetensors": safetensors([5.0]), "model/plots/loss.png": b"png"}


async def took(scene: Scene, worker: str) -> tuple[TaskKind, int, task_pb2.TaskSpec]:
    """(kind, fence, spec) of the next task, leased."""
    fence = await scene.lease(worker)
    row = await scene.leases.held(worker, fence)
    assert row is not None
    return TaskKind(row.kind), fence, await scene.leases.spec(row)


async def hand_in(scene: Scene, worker: str, fence: int, outputs: Mapping[str, bytes], **result: Any) -> Answer:
    """Uploads the outputs of a leased task and completes it."""
    handed_in = task_pb2.TaskResult(**result)
    for output, data in outputs.items():
        await scene.upload(worker, fence, output, data)
        handed_in.outputs.add(output=output, digest=digest.of_bytes(data))
    return await scene.results.complete(worker, fence, handed_in)


async def created(scene: Scene, worker: str, schema: dataset_pb2.DataSchema = SCHEMA, **fields: Any) -> str:
    """Id of a job of one shard and a holdout, on a data set of its own."""
    name = await ready(scene, worker, schema, data=secrets.token_bytes(8))
    job = await scene.jobs.create(secrets.token_hex(8), spec(name, shards_=1, **fields))
    return names.id_of(job.name)


async def prepared(scene: Scene, worker: str, *, sample: bool = False) -> None:
    kind, fence, _ = await took(scene, worker)
    assert kind == TaskKind.PREPARE
    assert await cut(scene, worker, fence, rows=(90,), sample=sample) == worker_pb2.OUTCOME_RECEIVED


async def initialized(scene: Scene, worker: str, **parts: bytes) -> task_pb2.InitializeSpec:
    """Hands in initial weights; answers what the worker was told."""
    kind, fence, told = await took(scene, worker)
    assert kind == TaskKind.INITIALIZE
    found = task_pb2.InitializeResult(trainable_parameters=2, parameters=5, base_revision="abc")
    answer = await hand_in(scene, worker, fence, {"base": WEIGHTS, **parts}, initialize=found)
    assert answer.outcome == worker_pb2.OUTCOME_RECEIVED, answer
    return told.initialize


async def evaluated(scene: Scene, worker: str, **result: Any) -> task_pb2.EvaluateSpec:
    """Hands in an evaluation, the next task; answers what the worker was told."""
    kind, fence, told = await took(scene, worker)
    assert kind == TaskKind.EVALUATE
    answer = await hand_in(scene, worker, fence, {}, **{"metrics": {"accuracy": 0.5}, **result})
    assert answer.outcome == worker_pb2.OUTCOME_RECEIVED, answer
    return told.evaluate


async def succeeded(scene: Scene, worker: str, *, parts: Mapping[str, bytes] | None = None, **fields: Any) -> str:
    """Id of a job that has only its folder still to be made."""
    job = await created(scene, worker, **fields)
    await prepared(scene, worker)
    await initialized(scene, worker, **(parts or {}))
    rounds = fields.get("rounds", 1)
    for number in range(1, rounds + 1):
        await scene.whole_round(worker)
        if number == rounds:
            for _ in range(rounds):
                await evaluated(scene, worker)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED
    return job
