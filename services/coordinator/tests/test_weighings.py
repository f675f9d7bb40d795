"""What a rule makes of a round's updates: told before the sum, once, and of the round's updates alone."""

from typing import Any

import pytest

from services.coordinator.tests.scene import TTL, Scene
from trainnet.coordinator.domain import names
from trainnet.coordinator.storage.schema import attempts, outbox, rounds, tasks, weighings
from trainnet.coordinator.usecases.errors import StaleFence
from trainnet.coordinator.usecases.weighings import BadWeighings
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import events_pb2, job_pb2, merge_pb2, task_pb2

KRUM = job_pb2.MergePolicy(rule=job_pb2.AGGREGATION_RULE_KRUM)
MEDIAN = job_pb2.MergePolicy(rule=job_pb2.AGGREGATION_RULE_MEDIAN)


def report_of(task: merge_pb2.MergeTask, *factors: float) -> merge_pb2.ReportWeighingsRequest:
    """One update a shard, each in a bucket of its own."""
    weighed = [
        job_pb2.Weighing(shard=shard, bucket=shard, factor=factor, norm=1.5) for shard, factor in enumerate(factors)
    ]
    return merge_pb2.ReportWeighingsRequest(fence=task.fence, weighings=weighed)


async def closed(scene: Scene, **job: Any) -> tuple[str, merge_pb2.MergeTask]:
    """A job with three shards whose first round is closed, and the claim of its merge."""
    worker = await scene.worker()
    job_id = await scene.training(worker, shards=3, **job)
    for _ in range(3):
        await scene.done(worker)
        await scene.check()
    return job_id, await scene.claim(task_pb2.TASK_KIND_MERGE)


async def test_the_first_report_of_a_round_is_the_one_that_counts(scene: Scene) -> None:
    job, slow = await closed(scene, merge=KRUM)
    assert slow.merge.policy.keep == 1
    assert not slow.merge.weighings
    counts = await scene.merging.report_weighings(report_of(slow, 0.0, 1.0, 0.0))
    assert [item.factor for item in counts] == [0.0, 1.0, 0.0]
    assert await scene.merging.report_weighings(report_of(slow, 0.0, 0.0, 1.0)) == counts, "a repeat changes nothing"

    scene.now += TTL + 1
    assert await scene.leases.expire_overdue(slow.fence)
    fast = await scene.claim(task_pb2.TASK_KIND_MERGE, "fast")
    assert list(fast.merge.weighings) == counts
    with pytest.raises(StaleFence):
        await scene.merging.report_weighings(report_of(slow, 1.0, 0.0, 0.0))
    assert await scene.merging.report_weighings(report_of(fast, 0.0, 0.0, 1.0)) == counts
    await scene.merge(fast)
    assert await scene.merging.report_weighings(report_of(fast, 0.0, 0.0, 1.0)) == counts, "also after the merge"

    told = await scene.jobs.round(names.round_of(job, 1))
    assert [entry.weighing for entry in told.manifest] == counts
    assert told.decision == "all 3 shards accepted; krum kept 1 of 3 updates and left out shards 0, 2"
    events = [events_pb2.Event.FromString(item.payload) for item in await scene.rows(outbox)]
    (merged,) = [item.round_merged for item in events if item.WhichOneof("event") == "round_merged"]
    assert merged.decision == told.decision
    await scene.jobs.delete(names.job(job))
    assert await scene.rows(weighings) == []


async def test_a_report_of_other_updates_is_a_failed_merge(scene: Scene) -> None:
    _, task = await closed(scene, merge=MEDIAN)
    with pytest.raises(BadWeighings, match="shard 2 of the round's manifest is missing"):
        await scene.merging.report_weighings(report_of(task, 1.0, 1.0))
    assert (await scene.row(attempts, fence=task.fence)).state == "FAILED"
    assert await scene.rows(weighings) == []
    scene.now += 60
    again = await scene.claim(task_pb2.TASK_KIND_MERGE)
    await scene.merging.report_weighings(report_of(again, 1.0, 1.0, 1.0))
    await scene.merge(again)


async def test_a_merge_that_weighed_nothing_does_not_count(scene: Scene) -> None:
    job, task = await closed(scene, merge=MEDIAN)
    with pytest.raises(InvalidArgument, match=r"MEDIAN reports its weighings first: .* up to date"):
        await scene.merge(task)
    assert (await scene.row(rounds, job=job)).state == "MERGING"
    assert (await scene.row(attempts, fence=task.fence)).state == "FAILED"


async def test_the_mean_weighs_nothing(scene: Scene) -> None:
    job, task = await closed(scene)
    with pytest.raises(BadWeighings, match="MEAN weighs no updates"):
        await scene.merging.report_weighings(report_of(task, 1.0, 1.0, 1.0))
    scene.now += 60
    await scene.merge()
    told = await scene.jobs.round(names.round_of(job, 1))
    assert not any(entry.HasField("weighing") for entry in told.manifest)


async def test_only_the_claim_of_the_merge_may_report(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker, shards=3, merge=KRUM)
    await scene.done(worker)
    check = await scene.claim(task_pb2.TASK_KIND_CHECK)
    for fence in (check.fence, check.fence + 100):
        with pytest.raises(StaleFence):
            await scene.merging.report_weighings(report_of(merge_pb2.MergeTask(fence=fence), 1.0, 1.0, 1.0))


async def test_a_rule_that_sees_all_updates_first_is_one_group(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker, shards=4, merge=MEDIAN)
    async with scene.database.read() as tx:
        row = await tx.one(rounds.select())
    assert row is not None
    assert row.group_size == 4
    for _ in range(4):
        await scene.done(worker)
        await scene.check()
    assert await scene.rows(tasks, kind="SUM") == []
