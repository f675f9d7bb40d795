"""Failures, rejections, lost leases and hand-backs: who gets the task next, and when it is given up."""

import json

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.scene import Scene
from trainnet.coordinator.domain.states import AttemptState, TaskKind, TaskState
from trainnet.coordinator.domain.tasks import MAX_LOST_LEASES
from trainnet.coordinator.storage.schema import attempts, contributions, tasks
from trainnet.v1 import job_pb2, worker_pb2


async def test_an_expired_lease_calls_its_worker_back(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.leases.expire(fence, leased=True)
    assert (worker, fence, "the lease expired") in scene.told[-1].cancelled
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, task.lost) == (TaskState.READY, 1)


async def test_an_assignment_that_nobody_accepted_never_counts(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    for _ in range(MAX_LOST_LEASES + 1):
        assert await scene.leases.expire(await scene.offer(worker), leased=False)
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, task.lost, task.failures) == (TaskState.READY, 0, 0)


async def test_an_assignment_accepted_at_its_deadline_is_kept(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    assert not await scene.leases.expire(fence, leased=False)
    assert (await scene.row(attempts, fence=fence)).state == AttemptState.LEASED


async def test_six_lost_leases_give_a_shard_up(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=1)
    for _ in range(MAX_LOST_LEASES):
        await scene.leases.expire(await scene.lease(worker), leased=True)
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message == (
        "round 1: 1 of 1 shards given up: shard 0 6 workers were lost while they worked on it"
    )


async def test_a_rejected_update_is_trained_by_somebody_else(scene: Scene) -> None:
    ada, bob = await scene.worker("ada"), await scene.worker("bob")
    job = await scene.training(ada)
    bad = await scene.done(ada)
    await scene.check(accept=False)
    assert scene.told[-1].verdicts == [(ada, bad, False, "NORM: by script")]
    assert (await scene.complete(ada, bad)).outcome == worker_pb2.OUTCOME_REJECTED
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, task.failures, json.loads(task.excluded)) == (TaskState.READY, 1, [ada])
    await scene.done(bob)
    await scene.check()
    await scene.merge()
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED
    (counted,) = await scene.rows(contributions)
    assert counted.worker == bob


async def test_a_shard_that_everybody_fails_ends_the_job_with_its_reasons(scene: Scene) -> None:
    crowd = [await scene.worker(name) for name in ("ada", "bob", "cyd", "dan")]
    job = await scene.training(crowd[0], shards=2)
    for worker in crowd[:3]:
        fence = await scene.lease(worker)
        assert await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_WORKER, f"{worker} is full")
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    reason = f"1 of 2 shards given up: shard 0 failed 3 of 3 times, last: {crowd[2]} is full"
    assert view.state_message == f"round 1: {reason}"
    assert (view.rounds[0].state, view.rounds[0].decision) == (job_pb2.ROUND_STATE_FAILED, reason)
    await assert_invariants(scene.database, scene.store)


async def test_a_failure_told_twice_counts_once(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.worker("bob")
    await scene.training(worker)
    fence = await scene.lease(worker)
    for _ in range(2):
        assert await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_WORKER, "no memory")
    assert (await scene.row(tasks, kind=TaskKind.TRAIN)).failures == 1


async def test_a_shard_handed_back_unharmed_counts_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    for _ in range(4):
        fence = await scene.lease(worker)
        assert await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_RELEASED, "stops")
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, task.failures, task.lost, task.excluded) == (TaskState.READY, 0, 0, "[]")


async def test_weights_that_cannot_be_made_fail_the_job_at_once(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.worker("bob")
    job = await scene.job()
    fence = await scene.lease(worker)
    await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_TASK, "8 TB of weights do not fit")
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message == "making the initial weights: 8 TB of weights do not fit"
