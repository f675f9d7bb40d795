"""Rounds that do not wait for every shard: samples, quorums, deadlines."""

import asyncio
import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.scene import Scene
from trainnet.coordinator.deadlines import Deadlines
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.participation import drawn
from trainnet.coordinator.storage.schema import attempts, outbox, rounds, tasks, updates
from trainnet.coordinator.usecases.errors import StaleFence
from trainnet.coordinator.usecases.timers import Timers
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import events_pb2, job_pb2, task_pb2, worker_pb2

MINUTE = Duration(seconds=60)


def two_of_three(**fields: Any) -> job_pb2.Participation:
    return job_pb2.Participation(quorum=2, deadline=MINUTE, **fields)


async def accepted(scene: Scene, worker: str, times: int = 1) -> None:
    """The next shards are trained and count."""
    for _ in range(times):
        await scene.done(worker)
        await scene.check()


async def test_a_round_trains_its_sample(scene: Scene) -> None:
    worker = await scene.worker()
    asked = job_pb2.Participation(sample=2)
    job = await scene.training(worker, rounds=2, shards=5, seed=3, participation=asked)
    for number in (1, 2):
        trained = await scene.rows(tasks, kind="TRAIN", round=number)
        assert [row.shard for row in trained] == list(drawn(3, number, 5, 2))
        await scene.whole_round(worker, 2)
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_SUCCEEDED
    for found in view.rounds:
        assert (
            list(found.sampled_shards)
            == [entry.shard for entry in found.manifest]
            == list(drawn(3, found.number, 5, 2))
        )
        assert found.decision == "all 2 shards accepted"
        assert not found.HasField("deadline_time")
    await assert_invariants(scene.database, scene.store)


async def test_a_round_of_all_shards_says_no_sample(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=2, participation=job_pb2.Participation(sample=2))
    assert not (await scene.view(job)).rounds[0].sampled_shards


async def test_groups_of_a_sample_are_summed_as_their_members_come(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=6, participation=job_pb2.Participation(sample=4))
    async with scene.database.write() as tx:
        await tx.execute(rounds.update().values(group_size=3))
    row = await scene.row(rounds, job=job)
    first = [shard for shard in json.loads(row.sampled) if shard < 3]
    await accepted(scene, worker, len(first))
    summed = await scene.claim(task_pb2.TASK_KIND_SUM)
    assert [term.shard for term in summed.sum.terms] == first
    await accepted(scene, worker, 4 - len(first))
    merge = await scene.claim(task_pb2.TASK_KIND_MERGE)
    assert [group.group for group in merge.merge.groups] == [0, 1]
    await scene.merge(merge)


async def test_a_round_closes_with_its_quorum_at_the_deadline(scene: Scene) -> None:
    ada, eve = await scene.worker("ada"), await scene.worker("eve")
    job = await scene.training(ada, shards=3, participation=two_of_three())
    assert scene.told[-1].timers_set, "this replica knows when to look"
    late = await scene.lease(eve)
    await scene.upload(eve, late)
    shard = (await scene.row(tasks, id=(await scene.row(attempts, fence=late)).task)).shard
    await accepted(scene, ada, 2)
    timers = Timers(scene.context)
    assert await timers.due() == []
    assert await timers.next() == pytest.approx(scene.now + 60)
    opened = (await scene.view(job)).rounds[0]
    assert (opened.state, opened.deadline_time.seconds) == (job_pb2.ROUND_STATE_OPEN, scene.now + 60)

    scene.now += 61
    await scene.leases.flush({}, [late])  # eve heartbeats for ever
    assert await Deadlines(scene.context).look() > 0
    row = await scene.row(rounds, job=job)
    why = "2 of 3 shards accepted at the deadline, the quorum is 2"
    assert (row.state, row.decision, row.due) == ("MERGING", f"{why}; shard {shard} late", None)
    assert scene.told[-1].cancelled == [(eve, late, f"the round was closed without it: {why}")]
    for answer in (await scene.complete(eve, late), await scene.upload(eve, late)):
        assert answer.outcome == worker_pb2.OUTCOME_STALE_FENCE
        assert answer.message.endswith(f"(the round was closed without it: {why})")
    assert not await scene.leases.fail(eve, late, worker_pb2.FAIL_REASON_TASK, "")
    merge = await scene.claim(task_pb2.TASK_KIND_MERGE)
    assert len(merge.merge.groups[0].terms) == 2
    await scene.merge(merge)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED
    await assert_invariants(scene.database, scene.store)


async def test_after_the_deadline_the_quorum_closes_a_round_at_once(scene: Scene) -> None:
    ada, eve = await scene.worker("ada"), await scene.worker("eve")
    job = await scene.training(ada, shards=3, participation=two_of_three())
    await accepted(scene, ada)
    await scene.lease(eve)
    scene.now += 61
    assert not await Timers(scene.context).look(job, 1)
    row = await scene.row(rounds, job=job)
    assert (row.state, row.due) == ("OPEN", None), "the time alone changes nothing any more"
    await accepted(scene, ada)
    assert (await scene.row(rounds, job=job)).state == "MERGING"
    await scene.merge()
    await assert_invariants(scene.database, scene.store)


async def test_an_update_that_is_not_checked_by_the_deadline_is_late(scene: Scene) -> None:
    ada, eve = await scene.worker("ada"), await scene.worker("eve")
    job = await scene.training(ada, shards=3, participation=two_of_three())
    await accepted(scene, ada, 2)
    late = await scene.done(eve)
    check = await scene.claim(task_pb2.TASK_KIND_CHECK)
    scene.now += 61
    assert await Timers(scene.context).look(job, 1)
    (verdict,) = scene.told[-1].verdicts
    assert (verdict[:3], "the round was closed without it" in verdict[3]) == ((eve, late, False), True)
    row = await scene.row(updates, fence=late)
    assert (row.state, row.reason) == ("REJECTED", verdict[3])
    told = [events_pb2.Event.FromString(item.payload) for item in await scene.rows(outbox)]
    (rejected,) = [item.update_rejected for item in told if item.WhichOneof("event") == "update_rejected"]
    assert (rejected.fence, rejected.reason) == (late, verdict[3])
    with pytest.raises(StaleFence):
        await scene.verdict(check.fence)
    answer = await scene.complete(eve, late)
    assert (answer.outcome, "closed without it" in answer.message) == (worker_pb2.OUTCOME_STALE_FENCE, True)
    await scene.merge()
    await assert_invariants(scene.database, scene.store)


async def test_replicas_that_look_at_the_same_moment_decide_once(scene: Scene) -> None:
    ada, eve = await scene.worker("ada"), await scene.worker("eve")
    job = await scene.training(ada, shards=3, participation=two_of_three())
    await accepted(scene, ada, 2)
    await scene.lease(eve)
    scene.now += 61
    looks = await asyncio.gather(*(Timers(scene.context).look(job, 1) for _ in range(4)))
    assert sorted(looks) == [False, False, False, True]
    assert len(await scene.rows(tasks, kind="MERGE")) == 1


async def test_a_deadline_and_a_verdict_at_the_same_moment(scene: Scene) -> None:
    ada = await scene.worker("ada")
    job = await scene.training(ada, shards=3, participation=two_of_three())
    await accepted(scene, ada, 2)
    await scene.done(ada)
    check = await scene.claim(task_pb2.TASK_KIND_CHECK)
    scene.now += 61
    _, verdict = await asyncio.gather(
        Timers(scene.context).look(job, 1), scene.verdict(check.fence), return_exceptions=True
    )
    assert verdict is None or isinstance(verdict, StaleFence)
    row = await scene.row(rounds, job=job)
    assert row.state == "MERGING"
    assert row.decision.startswith("all 3 shards" if verdict is None else "2 of 3 shards")
    await scene.merge()
    await assert_invariants(scene.database, scene.store)


async def test_with_a_quorum_a_round_goes_on_without_a_shard_that_was_given_up(scene: Scene) -> None:
    ada = await scene.worker()
    job = await scene.training(ada, shards=3, participation=job_pb2.Participation(quorum=2))
    bad = await scene.lease(ada)
    await scene.leases.fail(ada, bad, worker_pb2.FAIL_REASON_TASK, "row 7 is no number")
    assert (await scene.row(rounds, job=job)).given_up == 1
    await accepted(scene, ada, 2)
    row = await scene.row(rounds, job=job)
    assert row.state == "MERGING"
    assert row.decision == (
        f"2 of 3 shards accepted, the quorum is 2; given up: shard 0 failed by {ada} (row 7 is no number)"
    )
    await scene.merge()
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED
    await assert_invariants(scene.database, scene.store)


async def test_the_last_shard_given_up_closes_a_round_too(scene: Scene) -> None:
    ada = await scene.worker()
    job = await scene.training(ada, shards=3, participation=job_pb2.Participation(quorum=2))
    await accepted(scene, ada, 2)
    bad = await scene.lease(ada)
    await scene.leases.fail(ada, bad, worker_pb2.FAIL_REASON_TASK, "no")
    assert (await scene.row(rounds, job=job)).state == "MERGING"


async def test_a_quorum_out_of_reach_fails_the_job_and_says_why(scene: Scene) -> None:
    ada = await scene.worker()
    job = await scene.training(ada, shards=3, participation=two_of_three())
    for _ in range(2):
        bad = await scene.lease(ada)
        await scene.leases.fail(ada, bad, worker_pb2.FAIL_REASON_TASK, "no")
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message.startswith("round 1: 2 of 3 shards given up, and the quorum is 2: shard 0 failed by")
    assert await Timers(scene.context).next() is None


async def test_a_cancelled_job_has_no_deadline_left(scene: Scene) -> None:
    ada = await scene.worker()
    job = await scene.training(ada, shards=3, participation=two_of_three())
    await scene.jobs.cancel(names.job(job))
    assert await Timers(scene.context).next() is None


async def test_what_makes_no_sense_is_told_at_creation(scene: Scene) -> None:
    with pytest.raises(InvalidArgument, match="9 of 3 shards") as raised:
        await scene.job(shards=3, participation=job_pb2.Participation(sample=9))
    assert raised.value.violations[0].field == "spec.participation.sample"
    median = job_pb2.MergePolicy(rule=job_pb2.AGGREGATION_RULE_MEDIAN, byzantine=1)
    await scene.job(shards=3, merge=median)
    with pytest.raises(InvalidArgument, match="at most 0 harmful of 2 updates") as raised:
        await scene.job(shards=3, merge=median, participation=two_of_three())
    assert raised.value.violations[0].field == "spec.merge.byzantine"
