"""Data sets of the same bytes share their shards, and each of them can go without harm to the other."""

import asyncio
from typing import Any

import pytest

from services.coordinator.tests.data import SCHEMA, cut, ready, request, spec, uploaded
from services.coordinator.tests.scene import Scene, keys
from services.coordinator.tests.test_data import without_store
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import PlanState, TaskKind
from trainnet.coordinator.storage.schema import datasets, jobs, plans, shards, tasks
from trainnet.coordinator.usecases.datasets import Datasets
from trainnet.coordinator.usecases.errors import InUse
from trainnet.coordinator.usecases.uploads import StoreAway
from trainnet.v1 import dataset_pb2, job_pb2, task_pb2, worker_pb2


async def twins(scene: Scene, worker: str) -> tuple[str, str]:
    """Two data sets of the same bytes."""
    return await ready(scene, worker), await ready(scene, worker)


async def cut_next(scene: Scene, worker: str, **how: Any) -> task_pb2.PrepareSpec:
    """Hands in the next task, a PREPARE; answers what it was told."""
    fence = await scene.lease(worker)
    row = await scene.leases.held(worker, fence)
    assert row is not None
    assert row.kind == TaskKind.PREPARE
    told = (await scene.leases.spec(row)).prepare
    assert await cut(scene, worker, fence, **how) == worker_pb2.OUTCOME_RECEIVED
    return told


async def end(scene: Scene, *made: job_pb2.Job) -> None:
    for job in made:
        await scene.jobs.cancel(job.name)


async def stored(scene: Scene) -> list[str]:
    """Keys of the plans that there are rows of."""
    return keys(scene.store, [names.plan_prefix(row.id) for row in await scene.rows(plans)])


async def test_the_same_data_uploaded_twice_are_cut_once(scene: Scene) -> None:
    worker = await scene.worker()
    first, second = await twins(scene, worker)
    await scene.jobs.create("r-1", spec(first))
    await cut_next(scene, worker)
    again = await scene.jobs.create("r-2", spec(second))
    assert len(await scene.rows(plans)) == 1
    assert len(await scene.rows(tasks, kind=TaskKind.PREPARE)) == 1
    for _ in range(2):
        await scene.done(worker, "base")
    assert (await scene.jobs.get(again.name)).state == job_pb2.JOB_STATE_QUEUED


@pytest.mark.parametrize(
    "other", [{"data": b"a,label\n"}, {"format": dataset_pb2.DATASET_FORMAT_PARQUET}, {"schema": None}]
)
async def test_other_bytes_or_another_understanding_are_cut_apart(scene: Scene, other: dict[str, Any]) -> None:
    worker = await scene.worker()
    first = await ready(scene, worker)
    schema = dataset_pb2.DataSchema()
    schema.CopyFrom(SCHEMA)
    schema.label = "b" if "schema" in other else SCHEMA.label
    second = await ready(scene, worker, **(other | {"schema": schema}))
    for name in (first, second):
        await scene.jobs.create(f"of-{name[-8:]}", spec(name))
    assert len(await scene.rows(plans)) == 2


async def test_a_twin_inherits_the_shards_of_a_data_set_that_goes(scene: Scene) -> None:
    worker = await scene.worker()
    first, second = await twins(scene, worker)
    old = await scene.jobs.create("r-1", spec(first))
    await cut_next(scene, worker)
    young = await scene.jobs.create("r-2", spec(second))
    await end(scene, old)
    await scene.datasets.delete(first)
    assert keys(scene.store, [f"{first}/"]) == []
    assert len(await stored(scene)) == 3
    await scene.done(worker, "base")
    await scene.whole_round(worker, shards=2)
    assert (await scene.jobs.get(young.name)).merged_rounds == 1
    with pytest.raises(InUse):
        await scene.datasets.delete(second)
    await end(scene, young)
    (plan,) = await scene.rows(plans)
    await scene.datasets.delete(second)
    assert (await scene.rows(plans), await scene.rows(shards), await scene.rows(datasets)) == ([], [], [])
    assert keys(scene.store, [names.plan_prefix(plan.id), f"{second}/"]) == []
    assert {row.plan for row in await scene.rows(jobs)} == {None}


async def test_a_plan_in_the_making_goes_on_with_the_twin(scene: Scene) -> None:
    worker = await scene.worker()
    first, second = await twins(scene, worker)
    old = await scene.jobs.create("r-1", spec(first))
    young = await scene.jobs.create("r-2", spec(second))
    fence = await scene.lease(worker)
    await end(scene, old)
    await scene.datasets.delete(first)
    assert await cut(scene, worker, fence) == worker_pb2.OUTCOME_STALE_FENCE
    await scene.done(worker, "base")
    assert (await cut_next(scene, worker)).source.key.startswith(second)
    assert (await scene.row(plans)).state == PlanState.READY
    assert (await scene.jobs.get(young.name)).state == job_pb2.JOB_STATE_QUEUED


async def test_what_was_never_understood_inherits_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    job = await scene.jobs.create("r", spec(name))
    await cut_next(scene, worker)
    await scene.datasets.create(request())
    await uploaded(scene)
    await end(scene, job)
    await scene.datasets.delete(name)
    assert (await scene.rows(plans), len(await scene.rows(datasets))) == ([], 2)


async def test_a_job_that_begins_while_shards_go_gets_new_ones(scene: Scene) -> None:
    worker = await scene.worker()
    first = await ready(scene, worker)
    job = await scene.jobs.create("r-1", spec(first))
    await cut_next(scene, worker)
    await end(scene, job)
    with pytest.raises(StoreAway):
        await Datasets(without_store(scene)).delete(first)
    second = await ready(scene, worker)
    await scene.jobs.create("r-2", spec(second))
    await cut_next(scene, worker)
    assert len(await scene.rows(plans)) == 2
    await scene.datasets.delete(first)
    assert (await scene.row(plans)).state == PlanState.READY
    assert len(await stored(scene)) == 3


async def test_ended_jobs_of_a_twin_do_not_hold_up_the_last_deletion(scene: Scene) -> None:
    worker = await scene.worker()
    first, second = await twins(scene, worker)
    made = [await scene.jobs.create(f"of-{name[-8:]}", spec(name)) for name in (first, second)]
    await end(scene, *made)
    with pytest.raises(StoreAway):
        await Datasets(without_store(scene)).delete(second)
    for name in (first, second):
        await scene.datasets.delete(name)
    assert (await scene.rows(plans), await scene.rows(datasets)) == ([], [])


async def test_twins_deleted_at_once_leave_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    first, second = await twins(scene, worker)
    job = await scene.jobs.create("r", spec(first))
    await cut_next(scene, worker)
    plan = (await scene.row(plans)).id
    await end(scene, job)
    await asyncio.gather(scene.datasets.delete(first), scene.datasets.delete(second))
    assert (await scene.rows(plans), await scene.rows(datasets)) == ([], [])
    assert keys(scene.store, [names.plan_prefix(plan), f"{first}/", f"{second}/"]) == []


async def test_jobs_on_twins_at_once_share_a_plan(scene: Scene) -> None:
    worker = await scene.worker()
    made = await twins(scene, worker)
    await asyncio.gather(*(scene.jobs.create(f"of-{name[-8:]}", spec(name)) for name in made))
    assert len(await scene.rows(plans)) == 1
    assert len({row.plan for row in await scene.rows(jobs)}) == 1


# --- samples ---


async def test_a_sample_is_kept_for_tokenizers(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    await scene.jobs.create("r", spec(name))
    await cut_next(scene, worker, sample=True)
    plan = await scene.row(plans)
    assert plan.sample_key.startswith(names.plan_prefix(plan.id))
    assert plan.sample_key.endswith("/sample.parquet")
    assert scene.store.stat(plan.sample_key).size == plan.sample_size


async def test_data_without_text_have_no_sample(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    await scene.jobs.create("r", spec(name))
    await cut_next(scene, worker)
    assert (await scene.row(plans)).sample_key is None


async def test_a_shard_without_rows_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker)
    await scene.jobs.create("r", spec(name))
    assert await cut(scene, worker, await scene.lease(worker), rows=(90, 0)) == worker_pb2.OUTCOME_INVALID
    assert await scene.rows(shards) == []
