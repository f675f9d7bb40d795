"""Aggregators: claims, checks, sums and merges, each twice or late."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from services.coordinator.tests.scene import TTL, Scene
from trainnet.coordinator.domain.states import TaskKind, TaskState
from trainnet.coordinator.storage.schema import contributions, rounds, tasks, updates
from trainnet.coordinator.usecases.errors import StaleFence
from trainnet.v1 import job_pb2, merge_pb2, task_pb2


async def test_two_claims_get_two_tasks(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker, shards=2)
    await scene.done(worker)
    first = await scene.claim(task_pb2.TASK_KIND_CHECK, "one")
    request = merge_pb2.ClaimRequest(aggregator="two", max_tasks=4)
    assert await scene.merging.claim(request) == []
    await scene.done(worker)
    second = await scene.claim(task_pb2.TASK_KIND_CHECK, "two")
    assert first.fence != second.fence
    assert first.check.update.key != second.check.update.key


async def test_a_check_reported_twice_counts_once(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    await scene.done(worker)
    fence = await scene.check()
    await scene.verdict(fence)
    await scene.verdict(fence, accept=False)
    assert len(await scene.rows(contributions)) == 1
    assert (await scene.row(updates)).state == "ACCEPTED"


async def test_a_claim_that_ran_out_is_stale(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    await scene.done(worker)
    slow = await scene.claim(task_pb2.TASK_KIND_CHECK, "slow")
    scene.now += TTL + 1
    assert await scene.leases.expired_claims() == [slow.fence]
    assert await scene.leases.expire_overdue(slow.fence)
    fast = await scene.claim(task_pb2.TASK_KIND_CHECK, "fast")
    with pytest.raises(StaleFence):
        await scene.verdict(slow.fence, accept=False)
    assert await scene.merging.renew([slow.fence, fast.fence]) == [fast.fence]
    await scene.verdict(fast.fence)
    assert (await scene.row(updates)).state == "ACCEPTED"


async def test_a_claim_renewed_in_time_is_kept(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    await scene.done(worker)
    claim = await scene.claim(task_pb2.TASK_KIND_CHECK)
    scene.now += TTL + 1
    assert await scene.leases.expired_claims() == [claim.fence]
    await scene.merging.renew([claim.fence])
    assert not await scene.leases.expire_overdue(claim.fence)


async def test_of_two_aggregators_one_pointer_wins(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    await scene.done(worker)
    await scene.check()
    slow = await scene.claim(task_pb2.TASK_KIND_MERGE, "slow")
    scene.now += TTL + 1
    await scene.leases.expire_overdue(slow.fence)
    fast = await scene.claim(task_pb2.TASK_KIND_MERGE, "fast")
    with pytest.raises(StaleFence):
        await scene.merge(slow)
    report = await scene.merge(fast)
    await scene.merging.report_merge(report)
    round_row = await scene.row(rounds, job=job)
    assert round_row.merged_key == report.merged.key
    assert len(await scene.rows(rounds)) == 1


async def test_a_merge_that_keeps_failing_fails_the_job(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    await scene.done(worker)
    await scene.check()
    for _ in range(10):
        claim = await scene.claim(task_pb2.TASK_KIND_MERGE)
        await scene.merging.report_failure(claim.fence, "the disk is full")
        await scene.merging.report_failure(claim.fence, "the disk is full")
        scene.now += 31
    view = await scene.view(job)
    assert view.state_message == "merging round 1: failed 10 times, last: the disk is full"
    assert view.rounds[0].state == job_pb2.ROUND_STATE_FAILED


async def test_a_failed_check_pauses_before_it_is_tried_again(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    await scene.done(worker)
    claim = await scene.claim(task_pb2.TASK_KIND_CHECK)
    await scene.merging.report_failure(claim.fence, "the store is away")
    request = merge_pb2.ClaimRequest(aggregator="agg", max_tasks=1)
    assert await scene.merging.claim(request) == []
    scene.now += 2
    assert len(await scene.merging.claim(request)) == 1


async def test_groups_are_summed_ahead_of_the_merge(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=4)
    async with scene.database.write() as tx:
        await tx.execute(rounds.update().values(group_size=2))
    for _ in range(3):
        await scene.done(worker)
        await scene.check()
    summed = await scene.claim(task_pb2.TASK_KIND_SUM)
    assert summed.sum.group == 0
    assert [term.shard for term in summed.sum.terms] == [0, 1]
    await scene.merging.report_sum(summed.fence)
    await scene.merging.report_sum(summed.fence)
    await scene.done(worker)
    await scene.check()
    # The last group completes the round: its sum would come too late to save anything.
    assert [row.state for row in await scene.rows(tasks, kind=TaskKind.SUM)] == [TaskState.DONE]
    merge = await scene.claim(task_pb2.TASK_KIND_MERGE)
    assert [group.group for group in merge.merge.groups] == [0, 1]
    assert merge.merge.groups[0].partial_key == summed.sum.key
    await scene.merge(merge)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_verdict_costs_the_same_in_a_round_of_many_shards(scene: Scene) -> None:
    """Rows are counted as they come: nothing of a verdict grows with the number of shards."""
    worker = await scene.worker()
    job = await scene.training(worker, shards=300)
    asked: list[str] = []

    def listen(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        asked.append(statement)

    await scene.done(worker)
    event.listen(Engine, "before_cursor_execute", listen)
    await scene.check()
    event.remove(Engine, "before_cursor_execute", listen)
    assert not [statement for statement in asked if "count(" in statement]
    row = await scene.row(rounds, job=job)
    assert (row.shards, row.accepted, row.state) == (300, 1, "OPEN")


async def test_verdicts_at_the_same_moment_are_all_counted(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=6)
    for _ in range(6):
        await scene.done(worker)
    claims = [await scene.claim(task_pb2.TASK_KIND_CHECK) for _ in range(6)]
    await asyncio.gather(*(scene.verdict(claim.fence) for claim in (*claims, *claims)))
    row = await scene.row(rounds, job=job)
    assert (row.accepted, row.state, row.decision) == (6, "MERGING", "all 6 shards accepted")
    await scene.merge()
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_members_of_a_group_are_counted_on_their_index(scene: Scene) -> None:
    asked: list[str] = []

    def listen(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "count(" in statement and "updates" in statement:
            asked.append(statement)

    worker = await scene.worker()
    await scene.training(worker, shards=4)
    async with scene.database.write() as tx:
        await tx.execute(rounds.update().values(group_size=2))
    await scene.done(worker)
    event.listen(Engine, "before_cursor_execute", listen)
    await scene.check()
    event.remove(Engine, "before_cursor_execute", listen)
    (statement,) = asked
    assert "state = 'ACCEPTED'" in statement  # a parameter would keep the partial index from being used
    async with scene.database.read() as tx:
        if tx.dialect != "sqlite":
            return
        plan = (await tx.execute(text("EXPLAIN QUERY PLAN " + statement.replace("?", "1")))).all()
    assert "uq_updates_accepted (job=? AND round=? AND shard=?)" in str(plan), plan
