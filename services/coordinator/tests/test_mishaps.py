"""Failures, rejections, lost leases and hand-backs: who gets the task next, and when it is given up."""

from typing import Any

import pytest
from sqlalchemy import Row

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.scene import TTL, Scene
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.states import AttemptState, Pool, TaskKind, TaskState
from trainnet.coordinator.domain.tasks import MAX_LOST, shunned
from trainnet.coordinator.storage.mishaps import history_of
from trainnet.coordinator.storage.schema import attempts, contributions, tasks
from trainnet.v1 import job_pb2, worker_pb2


async def test_an_expired_lease_calls_its_worker_back(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.leases.expire(fence, leased=True)
    assert (worker, fence, "the lease expired") in scene.told[-1].cancelled
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, history_of(task)[worker].lost) == (TaskState.READY, 1)


async def test_an_assignment_that_nobody_accepted_never_counts(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    for _ in range(MAX_LOST + 1):
        assert await scene.leases.expire(await scene.offer(worker), leased=False)
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, history_of(task)[worker].losses) == (TaskState.READY, 0)


async def test_an_assignment_accepted_at_its_deadline_is_kept(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    assert not await scene.leases.expire(fence, leased=False)
    assert (await scene.row(attempts, fence=fence)).state == AttemptState.LEASED


async def test_six_leases_lost_by_the_only_worker_give_a_shard_up(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=1)
    for _ in range(MAX_LOST):
        await scene.leases.expire(await scene.lease(worker), leased=True)
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message == (
        f"round 1: 1 of 1 shards given up: shard 0 lost by {worker} (its lease expired, 6 times)"
    )


async def test_a_rejected_update_is_trained_by_somebody_else(scene: Scene) -> None:
    ada, bob = await scene.worker("ada"), await scene.worker("bob")
    job = await scene.training(ada)
    bad = await scene.done(ada)
    await scene.check(accept=False)
    assert scene.told[-1].verdicts == [(ada, bad, False, "NORM: by script")]
    assert (await scene.complete(ada, bad)).outcome == worker_pb2.OUTCOME_REJECTED
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert task.state == TaskState.READY
    assert shunned(history_of(task)).failed == {ada}
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
    who = ", ".join(f"{worker} ({worker} is full)" for worker in crowd[:3])
    reason = f"1 of 2 shards given up: shard 0 failed by {who}"
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
    assert history_of(await scene.row(tasks, kind=TaskKind.TRAIN))[worker].failed == 1


async def test_a_shard_handed_back_again_and_again_counts_in_the_end(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    for _ in range(4):
        fence = await scene.lease(worker)
        assert await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_RELEASED, "stops")
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, history_of(task)[worker].losses) == (TaskState.READY, 2)
    # Two are free; more of them are no different from lost leases, or one worker could hold a shard for ever.
    assert shunned(history_of(task)).spent == {worker}


async def test_weights_that_cannot_be_made_fail_the_job_at_once(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.worker("bob")
    job = await scene.job()
    fence = await scene.lease(worker)
    await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_TASK, "8 TB of weights do not fit")
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message == "making the initial weights: 8 TB of weights do not fit"


# --- strangers ---


async def public_job(scene: Scene, trusted: str) -> str:
    return await scene.training(trusted, pool=job_pb2.POOL_PUBLIC)


async def the_task(scene: Scene) -> Row[Any]:
    return await scene.row(tasks, kind=TaskKind.TRAIN)


@pytest.mark.parametrize("how", ["fails", "is rejected", "vanishes", "hands it back"])
async def test_one_stranger_can_not_fail_a_public_job(scene: Scene, how: str) -> None:
    trusted, eve = await scene.worker("ada"), await scene.stranger("eve")
    job = await public_job(scene, trusted)
    for number in range(12):
        if how == "is rejected":
            await scene.done(eve)
            await scene.check(accept=False)
            continue
        fence = await scene.lease(eve)
        if how == "fails":
            await scene.leases.fail(eve, fence, worker_pb2.FAIL_REASON_TASK, "I do not like it")
        elif how == "hands it back":
            await scene.leases.fail(eve, fence, worker_pb2.FAIL_REASON_RELEASED, "stops")
        else:
            await scene.leases.hello(eve, f"incarnation-{number}", [])
    task = await the_task(scene)
    assert task.state == TaskState.READY
    assert shunned(history_of(task)).spent == {eve}
    await scene.whole_round(trusted)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_crowd_of_strangers_only_sends_a_task_to_the_trusted(scene: Scene) -> None:
    trusted, strangers = await scene.worker("ada"), [await scene.stranger(f"eve{number}") for number in range(4)]
    job = await public_job(scene, trusted)
    for stranger in strangers[:3]:
        fence = await scene.lease(stranger)
        await scene.leases.fail(stranger, fence, worker_pb2.FAIL_REASON_TASK, "I do not like it")
    task = await the_task(scene)
    assert (task.state, task.pool, task.escalated) == (TaskState.READY, Pool.TRUSTED, True)
    assert task.message.startswith(f"left to trusted workers: failed by stranger {strangers[0]} (I do not like it)")
    assert await scene.offers.ready(trusted=False, architectures=ARCHITECTURES, limit=10) == []
    await scene.whole_round(trusted)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_of_an_escalated_task_the_trusted_have_the_last_word(scene: Scene) -> None:
    trusted, strangers = await scene.worker("ada"), [await scene.stranger(f"eve{number}") for number in range(3)]
    job = await public_job(scene, trusted)
    for worker in (*strangers, trusted):
        fence = await scene.lease(worker)
        await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_WORKER, "no memory")
    view = await scene.view(job)
    assert view.state_message == f"round 1: 1 of 1 shards given up: shard 0 failed by {trusted} (no memory)"


async def test_an_escalated_task_waits_for_the_trusted_and_not_for_ever(scene: Scene) -> None:
    trusted, strangers = await scene.worker("ada"), [await scene.stranger(f"eve{number}") for number in range(3)]
    job = await public_job(scene, trusted)
    await scene.leases.left(trusted, 1)
    scene.now += scene.settings.trusted_patience / 2
    for worker in strangers:
        fence = await scene.lease(worker)
        await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_WORKER, "no memory")
    assert await scene.giving_up.give_up_abandoned() == []
    scene.now += 60
    assert (await scene.view(job)).state_message == "no trusted worker is online"
    scene.now += scene.settings.trusted_patience
    assert await scene.giving_up.give_up_abandoned() == [(job, 1, 0)]
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message.endswith("no trusted worker came to try it")
    assert await scene.giving_up.give_up_abandoned() == []


async def test_workers_of_other_replicas_and_such_as_just_left_are_waited_for(scene: Scene) -> None:
    ada, bob, cyd = [await scene.worker(name) for name in ("ada", "bob", "cyd")]
    await scene.leases.left(cyd, 1)
    assert {item.worker for item in await scene.offers.elsewhere({ada})} == {bob, cyd}
    scene.now += 3 * TTL + 1
    assert {item.worker for item in await scene.offers.elsewhere({ada})} == {bob}
    await scene.workers.pause(bob, paused=True)
    assert await scene.offers.elsewhere({ada}) == []
