"""Data sets for tests: declared, uploaded, inspected and cut by script."""

import secrets
from typing import Any

from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import declaration, safetensors, store_part
from trainnet.coordinator.usecases.results import Answer
from trainnet.runtime import digest
from trainnet.v1 import dataset_pb2, job_pb2, task_pb2, worker_pb2

TABLE = b"a,b,label\n1,2,x\n3,4,y\n"
SCHEMA = dataset_pb2.DataSchema(
    columns=[dataset_pb2.Column(name=name, kind=dataset_pb2.COLUMN_KIND_NUMERIC) for name in "ab"],
    label="label",
    rows=100,
    classes=[dataset_pb2.LabelClass(name=name, rows=50) for name in "xy"],
)


def request(request_id: str = "", data: bytes = TABLE, **fields: Any) -> dataset_pb2.CreateDatasetRequest:
    given = {"display_name": "table", "format": dataset_pb2.DATASET_FORMAT_CSV, **fields}
    return dataset_pb2.CreateDatasetRequest(
        **{"request_id": request_id or secrets.token_hex(8), "declaration": declaration(data), **given}
    )


async def uploaded(scene: Scene, data: bytes = TABLE, **fields: Any) -> str:
    """A data set that waits for its inspection."""
    dataset, grant = await scene.datasets.create(request(data=data, **fields))
    assert grant is not None
    await store_part(grant, data)
    return (await scene.datasets.complete(dataset.name)).name


async def inspected(
    scene: Scene, worker: str, schema: dataset_pb2.DataSchema = SCHEMA, profile: dataset_pb2.DataProfile | None = None
) -> Answer:
    """Hands in the next task, an inspection."""
    result = task_pb2.TaskResult(inspect=task_pb2.InspectResult(schema=schema, profile=profile))
    return await scene.results.complete(worker, await scene.lease(worker), result)


async def ready(
    scene: Scene, worker: str, schema: dataset_pb2.DataSchema = SCHEMA, data: bytes = TABLE, **fields: Any
) -> str:
    name = await uploaded(scene, data, **fields)
    assert (await inspected(scene, worker, schema)).outcome == worker_pb2.OUTCOME_RECEIVED
    return name


def spec(dataset: str, shards_: int = 2, holdout: float = 0.1, **fields: Any) -> job_pb2.JobSpec:
    plan = fields.pop("plan", None) or dataset_pb2.ShardPlan(shards=shards_, holdout_fraction=holdout, seed=1)
    given = {"dataset": dataset, "architecture": "mlp", "rounds": 1, "epochs": 1, **fields}
    return job_pb2.JobSpec(plan=plan, **given)


async def cut(
    scene: Scene, worker: str, fence: int, rows: tuple[int, ...] = (45, 45), *, sample: bool = False
) -> worker_pb2.Outcome:
    """Hands in the shards of a PREPARE task."""
    outputs = {f"shard-{index}": safetensors([index]) for index in range(len(rows))} | {"holdout": safetensors([9])}
    if sample:
        outputs["sample"] = safetensors([7])
    for output, data in outputs.items():
        await scene.upload(worker, fence, output, data)
    answer = await scene.results.complete(
        worker,
        fence,
        task_pb2.TaskResult(
            outputs=[task_pb2.TaskOutput(output=name, digest=digest.of_bytes(data)) for name, data in outputs.items()],
            prepare=task_pb2.PrepareResult(shard_rows=rows, holdout_rows=10),
        ),
    )
    return answer.outcome
