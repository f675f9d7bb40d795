"""Data sets, plans, retention and deletion."""

import asyncio
import dataclasses
from typing import Any

import pytest

from services.coordinator.tests.data import SCHEMA, cut, ready, request, spec, uploaded
from services.coordinator.tests.scene import Scene, keys
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.states import PlanState, TaskKind, TaskState
from trainnet.coordinator.storage.schema import attempts, contributions, datasets, jobs, plans, shards, tasks, updates
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.datasets import Datasets
from trainnet.coordinator.usecases.errors import (
    Collected,
    DatasetNotReady,
    InUse,
    NoModel,
    NoSuchResource,
    NotEnded,
    NotUploading,
    RequestIdReused,
    UploadIncomplete,
)
from trainnet.coordinator.usecases.jobs import Jobs, completed
from trainnet.coordinator.usecases.merge_policies import PUBLIC_UPDATE_NORM
from trainnet.coordinator.usecases.uploads import StoreAway
from trainnet.runtime.errors import InvalidArgument
from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectStore
from trainnet.v1 import dataset_pb2, job_pb2, task_pb2, worker_pb2

# --- data sets ---


async def test_a_data_set_is_declared_once_per_request(scene: Scene) -> None:
    first, grant = await scene.datasets.create(request("r-1"))
    again, fresh = await scene.datasets.create(request("r-1"))
    assert first == again
    assert grant is not None
    assert fresh is not None
    assert grant.key == fresh.key
    assert len(await scene.rows(datasets)) == 1


@pytest.mark.parametrize(
    "other", [{"data": b"else"}, {"label_column": "b"}, {"format": dataset_pb2.DATASET_FORMAT_PARQUET}]
)
async def test_a_request_id_is_for_one_data_set(scene: Scene, other: dict[str, Any]) -> None:
    await scene.datasets.create(request("r-1"))
    with pytest.raises(RequestIdReused):
        await scene.datasets.create(request("r-1", **other))


async def test_a_data_set_that_is_not_stored_cannot_be_completed(scene: Scene) -> None:
    dataset, _ = await scene.datasets.create(request())
    with pytest.raises(UploadIncomplete):
        await scene.datasets.complete(dataset.name)
    assert await scene.rows(tasks) == []


async def test_completing_twice_inspects_once(scene: Scene) -> None:
    name = await uploaded(scene)
    assert (await scene.datasets.complete(name)).state == dataset_pb2.DATASET_STATE_PREPARING
    assert len(await scene.rows(tasks, kind=TaskKind.INSPECT)) == 1
    with pytest.raises(NotUploading):
        await scene.datasets.grant(name)


async def test_what_is_wrong_with_a_file_reaches_its_owner(scene: Scene) -> None:
    worker = await scene.worker()
    name = await uploaded(scene)
    fence = await scene.lease(worker)
    await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_TASK, "there is no column label")
    dataset = await scene.datasets.get(name)
    assert (dataset.state, dataset.state_message) == (dataset_pb2.DATASET_STATE_FAILED, "there is no column label")
    with pytest.raises(DatasetNotReady, match="is FAILED: there is no column label"):
        await scene.jobs.create("r", spec(name))


async def test_an_inspection_without_a_schema_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    await uploaded(scene)
    answer = await scene.results.complete(worker, await scene.lease(worker), task_pb2.TaskResult())
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, "a task INSPECT hands in a schema")


async def test_a_data_set_deleted_in_its_inspection_calls_the_worker_back(scene: Scene) -> None:
    worker = await scene.worker()
    name = await uploaded(scene)
    fence = await scene.lease(worker)
    await scene.datasets.delete(name)
    cancelled = [item for effects in scene.told for item in effects.cancelled]
    assert (worker, fence, "the data set was deleted") in cancelled
    result = task_pb2.TaskResult(inspect=task_pb2.InspectResult(schema=SCHEMA))
    assert (await scene.results.complete(worker, fence, result)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert keys(scene.store, [f"{name}/"]) == []
    with pytest.raises(NoSuchResource):
        await scene.datasets.delete(name)


async def test_a_data_set_in_use_is_not_deleted(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    job = await scene.jobs.create("r", spec(name))
    with pytest.raises(InUse, match=job.name):
        await scene.datasets.delete(name)
    prepare = await scene.lease(worker)
    await scene.jobs.cancel(job.name)
    await scene.datasets.delete(name)
    assert await cut(scene, worker, prepare) == worker_pb2.OUTCOME_STALE_FENCE
    assert (await scene.rows(plans), await scene.rows(shards)) == ([], [])
    assert (await scene.jobs.get(job.name)).state == job_pb2.JOB_STATE_CANCELLED
    await scene.jobs.delete(job.name)


def without_store(scene: Scene) -> Context:
    """The scene while its object store is away."""
    away = ObjectStore(Credentials("key", "secret"), endpoint="127.0.0.1:1", patience=0.1)
    return dataclasses.replace(scene.context, store=away)


async def test_a_data_set_whose_bytes_could_not_be_deleted_can_be_deleted_again(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    with pytest.raises(StoreAway, match="delete it again"):
        await Datasets(without_store(scene)).delete(name)
    assert (await scene.datasets.get(name)).state_message == "its deletion was not finished: delete it again"
    with pytest.raises(DatasetNotReady):
        await scene.jobs.create("r", spec(name))
    await scene.datasets.delete(name)
    assert (await scene.rows(datasets), keys(scene.store, [f"{name}/"])) == ([], [])


async def test_a_deletion_that_broke_off_is_finished(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    with pytest.raises(StoreAway):
        await Datasets(without_store(scene)).delete(name)
    assert await scene.datasets.forget_unfinished() == 1
    assert (await scene.rows(datasets), keys(scene.store, [f"{name}/"])) == ([], [])


# --- plans ---


async def test_jobs_share_a_plan_that_is_cut_once(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    first, second = [await scene.jobs.create(f"r-{number}", spec(name)) for number in (1, 2)]
    assert len(await scene.rows(tasks, kind=TaskKind.PREPARE)) == 1
    assert await cut(scene, worker, await scene.lease(worker)) == worker_pb2.OUTCOME_RECEIVED
    assert (await scene.jobs.get(first.name)).state == job_pb2.JOB_STATE_PREPARING
    for _ in range(2):
        await scene.done(worker, "base")
    states = [(await scene.jobs.get(job.name)).state for job in (first, second)]
    assert states == [job_pb2.JOB_STATE_QUEUED] * 2
    third = await scene.jobs.create("r-3", spec(name))
    rows = {row.id: row for row in await scene.offers.ready(trusted=True, architectures=ARCHITECTURES, limit=10)}
    assert next(row.job for row in rows.values()) == names.id_of(third.name)
    assert len(await scene.rows(tasks, kind=TaskKind.PREPARE)) == 1


async def test_weights_are_the_rows_that_the_coordinator_knows(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    job = await scene.jobs.create("r", spec(name))
    await cut(scene, worker, await scene.lease(worker), rows=(40, 50))
    await scene.done(worker, "base")
    for _ in range(2):
        await scene.done(worker)
        await scene.check()
    claim = await scene.claim(task_pb2.TASK_KIND_MERGE)
    assert [term.weight for term in claim.merge.groups[0].terms] == [40.0, 50.0]
    assert [term.norm for term in claim.merge.groups[0].terms] == [1.0, 1.0]
    await scene.merge(claim)
    view = await scene.jobs.get(job.name)
    assert view.state == job_pb2.JOB_STATE_RUNNING
    fence = await scene.lease(worker)
    row = await scene.leases.held(worker, fence)
    assert row is not None
    evaluate = (await scene.leases.spec(row)).evaluate
    assert evaluate.weights.key == claim.merge.key
    await scene.results.complete(worker, fence, task_pb2.TaskResult(metrics={"accuracy": 0.5}))
    view = await scene.jobs.get(job.name)
    assert (view.state, view.metrics["accuracy"]) == (job_pb2.JOB_STATE_SUCCEEDED, 0.5)


async def test_an_evaluation_that_cannot_be_made_does_not_fail_the_job(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    job = await scene.jobs.create("r", spec(name))
    await cut(scene, worker, await scene.lease(worker))
    await scene.done(worker, "base")
    await scene.whole_round(worker, shards=2)
    await scene.leases.fail(worker, await scene.lease(worker), worker_pb2.FAIL_REASON_WORKER, "no memory")
    assert (await scene.jobs.get(job.name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_too_few_shards_are_refused(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    await scene.jobs.create("r", spec(name))
    assert await cut(scene, worker, await scene.lease(worker), rows=(90,)) == worker_pb2.OUTCOME_INVALID
    assert await scene.rows(shards) == []


async def test_a_plan_that_failed_is_cut_again_for_the_next_job(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    job = await scene.jobs.create("r-1", spec(name))
    await scene.leases.fail(worker, await scene.lease(worker), worker_pb2.FAIL_REASON_TASK, "line 7 has 4 columns")
    failed = await scene.jobs.get(job.name)
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert failed.state_message == "preparing the data: line 7 has 4 columns"
    assert [row.state for row in await scene.rows(tasks, kind=TaskKind.INITIALIZE)] == [TaskState.CANCELLED]
    await scene.jobs.create("r-2", spec(name))
    assert (await scene.row(plans)).state == PlanState.PREPARING
    assert await cut(scene, worker, await scene.lease(worker)) == worker_pb2.OUTCOME_RECEIVED
    assert (await scene.row(plans)).state == PlanState.READY


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"shards_": 91}, "spec.plan.shards", "91 shards are more than the 90 rows to train on: use fewer"),
        (
            {"architecture": "cnn"},
            "spec.architecture",
            (
                "cnn needs an image column, {} has 2 number or category columns and the label label of 2 classes: "
                "use mlp, or use a data set of images"
            ),
        ),
        ({"architecture": "noop"}, "spec.dataset", "noop takes no data set: leave it out"),
        ({"dataset": ""}, "spec.dataset", "mlp needs a data set: name one"),
    ],
)
async def test_a_job_that_does_not_fit_its_data_is_refused(
    scene: Scene, fields: dict[str, Any], field: str, message: str
) -> None:
    name = await ready(scene, await scene.worker())
    with pytest.raises(InvalidArgument) as raised:
        await scene.jobs.create("r", spec(**{"dataset": name, **fields}))
    assert raised.value.message == message.format(name)
    assert raised.value.violations[0].field == field
    assert (await scene.rows(jobs), await scene.rows(plans)) == ([], [])


# --- retention and deletion ---


async def test_the_last_rounds_stay_verifiable_and_the_rest_goes(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, rounds=4)
    for _ in range(4):
        await scene.whole_round(worker)
        while await scene.retention.collect():
            pass
    view = await scene.view(job)
    assert [item.verifiable for item in view.rounds] == [False, False, True, True]
    kept = set(keys(scene.store, [f"jobs/{job}/", f"uploads/{job}/"]))
    needed = {view.rounds[2].base.key, view.rounds[2].merged.key, view.rounds[3].merged.key}
    needed |= {entry.update.key for item in view.rounds[2:] for entry in item.manifest}
    assert kept == needed
    shown = await scene.jobs.round(f"jobs/{job}/rounds/3")
    assert shown.base.download.url
    assert not (await scene.jobs.round(f"jobs/{job}/rounds/1")).merged.HasField("download")
    with pytest.raises(Collected):
        await scene.files.get(f"jobs/{job}", 1)
    assert (await scene.files.get(f"jobs/{job}", 0))[0].round == 4


async def test_weights_wait_for_their_evaluation(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    job = await scene.jobs.create("r", spec(name, rounds=5))
    await cut(scene, worker, await scene.lease(worker))
    await scene.done(worker, "base")
    for _ in range(4):
        await scene.whole_round(worker, shards=2)
        async with scene.database.write() as tx:  # only the first round's evaluation is left over
            await tx.execute(
                tasks.update().where(tasks.c.kind == "EVALUATE", tasks.c.round > 1).values(state=TaskState.DONE)
            )
    assert await scene.retention.collect() == 0
    first = (await scene.jobs.get(job.name)).rounds[0]
    assert scene.store.stat(first.merged.key).size == first.merged.size_bytes


async def test_a_deleted_job_leaves_only_what_workers_earned(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, rounds=2)
    await scene.whole_round(worker)
    with pytest.raises(NotEnded):
        await scene.jobs.delete(f"jobs/{job}")
    await scene.done(worker)
    await scene.jobs.cancel(f"jobs/{job}")
    await scene.jobs.delete(f"jobs/{job}")
    assert [len(await scene.rows(table)) for table in (jobs, tasks, attempts, updates)] == [0, 0, 0, 0]
    assert keys(scene.store, [f"jobs/{job}/", f"uploads/{job}/"]) == []
    assert len(await scene.rows(contributions)) == 1
    assert (await scene.workers.get(f"workers/{worker}")).accepted_updates == 1
    with pytest.raises(NoSuchResource):
        await scene.jobs.delete(f"jobs/{job}")


async def test_a_job_whose_bytes_could_not_be_deleted_can_be_deleted_again(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    await scene.whole_round(worker)
    with pytest.raises(StoreAway, match="delete it again"):
        await Jobs(without_store(scene)).delete(f"jobs/{job}")
    assert not (await scene.view(job)).rounds[0].verifiable
    await scene.jobs.delete(f"jobs/{job}")
    assert (await scene.rows(jobs), keys(scene.store, [f"jobs/{job}/", f"uploads/{job}/"])) == ([], [])


async def test_a_job_deleted_while_it_is_collected(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, rounds=3)
    for _ in range(3):
        await scene.whole_round(worker)
    await asyncio.gather(scene.retention.collect(), scene.jobs.delete(f"jobs/{job}"))
    assert await scene.retention.collect() == 0
    assert keys(scene.store, [f"jobs/{job}/", f"uploads/{job}/"]) == []


async def test_a_job_without_a_merged_round_has_no_model(scene: Scene) -> None:
    job = await scene.job()
    with pytest.raises(NoModel):
        await scene.files.get(f"jobs/{job}", 0)


# --- what a job says ---


async def test_a_job_says_what_it_waits_for(scene: Scene) -> None:
    job, other = await scene.job(), await scene.job()
    scene.now += 2
    assert (await scene.view(job)).state_message == "no trusted worker is online"
    worker = await scene.worker()
    assert (await scene.view(job)).state_message == "waits for a free worker to prepare it"
    await scene.done(worker, "base")
    for _ in range(2):
        await scene.lease(worker)
    third = await scene.job()
    scene.now += 2
    assert (await scene.view(job)).state_message == ""
    assert (await scene.view(other)).state_message == ""
    assert (await scene.view(third)).state_message == "waits for a free worker to prepare it"


@pytest.mark.parametrize(
    ("pool", "asked", "bound"),
    [
        (job_pb2.POOL_TRUSTED, 0, 0),
        (job_pb2.POOL_PUBLIC, 0, PUBLIC_UPDATE_NORM),
        (job_pb2.POOL_PUBLIC, 5, 5),
    ],
)
def test_updates_of_strangers_are_bounded(pool: job_pb2.Pool, asked: float, bound: float) -> None:
    spec = job_pb2.JobSpec(architecture="noop", pool=pool, merge=job_pb2.MergePolicy(max_update_norm=asked))
    assert completed(spec).merge.max_update_norm == bound
