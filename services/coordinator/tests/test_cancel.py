"""Cancelled jobs: what is under way stops, what was merged first stays."""

import pytest

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.scene import Scene
from trainnet.coordinator.domain.states import JobState
from trainnet.coordinator.storage.schema import contributions, jobs
from trainnet.coordinator.usecases.errors import StaleFence
from trainnet.v1 import job_pb2, task_pb2, worker_pb2


async def test_a_cancelled_job_takes_nothing_more(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=2)
    received = await scene.done(worker)
    check = await scene.claim(task_pb2.TASK_KIND_CHECK)
    held = await scene.lease(worker)
    await scene.jobs.cancel(f"jobs/{job}")
    assert {fence for effects in scene.told for _, fence, _ in effects.cancelled} >= {received, held}
    with pytest.raises(StaleFence):
        await scene.verdict(check.fence)
    assert (await scene.upload(worker, held)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert (await scene.complete(worker, received)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert await scene.rows(contributions) == []
    assert (await scene.view(job)).rounds[0].state == job_pb2.ROUND_STATE_CANCELLED
    await assert_invariants(scene.database, scene.store)


async def test_cancel_loses_to_a_merge_that_was_reported_first(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    await scene.whole_round(worker)
    view = await scene.jobs.cancel(f"jobs/{job}")
    assert view.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_cancel_wins_over_a_merge_that_comes_later(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, rounds=2)
    await scene.whole_round(worker)
    await scene.done(worker)
    await scene.check()
    merge = await scene.claim(task_pb2.TASK_KIND_MERGE)
    await scene.jobs.cancel(f"jobs/{job}")
    with pytest.raises(StaleFence):
        await scene.merge(merge)
    view = await scene.view(job)
    assert [item.state for item in view.rounds] == [job_pb2.ROUND_STATE_MERGED, job_pb2.ROUND_STATE_CANCELLED]
    assert (await scene.row(jobs)).state == JobState.CANCELLED
