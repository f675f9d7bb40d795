"""Leases, fences and verdicts: every message twice, late, or from the wrong hand; nothing counts twice."""

import json
import math

import pytest

from services.coordinator.tests.scene import TTL, Scene
from services.coordinator.tests.support import assert_invariants, safetensors
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.states import AttemptState, JobState, Pool, TaskKind, TaskState
from trainnet.coordinator.domain.tasks import MAX_LOST_LEASES
from trainnet.coordinator.domain.text import MAX_METRICS
from trainnet.coordinator.sessions import LiveAttempt, Sessions, WorkerSession
from trainnet.coordinator.storage.schema import attempts, contributions, jobs, rounds, tasks, updates, uploads
from trainnet.coordinator.usecases.errors import StaleFence
from trainnet.coordinator.usecases.results import Answer
from trainnet.v1 import artifact_pb2, dataset_pb2, job_pb2, merge_pb2, task_pb2, worker_pb2

OTHER = safetensors([9.0])


async def test_a_repeated_accept_is_the_same_lease(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.job()
    fence = await scene.offer(worker)
    first, second = [await scene.leases.accept(worker, fence) for _ in range(2)]
    assert first is not None
    assert second is not None
    assert first[1].initialize == second[1].initialize


async def test_an_assignment_is_only_its_workers_to_accept(scene: Scene) -> None:
    worker, other = await scene.worker("ada"), await scene.worker("bob")
    await scene.job()
    fence = await scene.offer(worker)
    assert await scene.leases.accept(other, fence) is None
    assert await scene.leases.accept(worker, fence + 1) is None
    assert await scene.leases.held(other, fence) is None


async def test_a_task_is_offered_once(scene: Scene) -> None:
    ada, bob = await scene.worker("ada"), await scene.worker("bob")
    await scene.job()
    rows = {row.id: row for row in await scene.leases.ready(trusted=True, architectures=ARCHITECTURES, limit=10)}
    from trainnet.coordinator.domain.scheduling import Match

    (won,) = await scene.leases.offer([Match(min(rows), ada)], rows)
    assert await scene.replica("r-2").offer([Match(min(rows), bob)], rows) == []
    assert won.worker == ada


async def test_the_first_declaration_stands(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    again = await scene.upload(worker, fence)
    assert again.outcome == worker_pb2.OUTCOME_UNSPECIFIED
    other = await scene.upload(worker, fence, data=OTHER)
    assert other.outcome == worker_pb2.OUTCOME_DIGEST_MISMATCH
    assert len(await scene.rows(uploads, fence=fence)) == 1


async def test_only_outputs_of_the_task_are_granted(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    answer = await scene.upload(worker, fence, output="base")
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, "a task TRAIN has no output base")


async def test_an_update_much_larger_than_its_base_is_not_granted(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    huge = artifact_pb2.UploadDeclaration(size_bytes=2_000_000, part_sha256=[bytes(32)])
    request = worker_pb2.UploadRequest(fence=fence, output="update", declaration=huge)
    answer = await scene.results.grant(worker, request, "nonce")
    assert isinstance(answer, Answer)
    assert answer.outcome == worker_pb2.OUTCOME_INVALID
    assert answer.message.startswith("2000000 bytes are no update of")
    assert await scene.rows(uploads, fence=fence) == []
    assert (await scene.upload(worker, fence)).outcome == worker_pb2.OUTCOME_UNSPECIFIED


async def test_a_strangers_words_are_kept_only_as_far_as_they_mean_something(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    schema = dataset_pb2.DataSchema(label="y" * 10_000)
    metrics = {"loss": math.nan, "train_s": 2.0, **{f"x{index}": 1.0 for index in range(1000)}}
    await scene.complete(worker, fence, metrics=metrics, inspect=task_pb2.InspectResult(schema=schema))
    kept = json.loads((await scene.row(updates, fence=fence)).metrics)
    assert len(kept) == MAX_METRICS
    assert "loss" not in kept
    assert len((await scene.row(attempts, fence=fence)).result) < 1000
    assert (await scene.complete(worker, fence)).outcome == worker_pb2.OUTCOME_RECEIVED


async def test_a_result_twice_is_one_update(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    first = await scene.complete(worker, fence)
    assert await scene.complete(worker, fence) == first
    assert len(await scene.rows(updates)) == 1
    assert len(await scene.rows(tasks, kind=TaskKind.CHECK)) == 1
    other = await scene.complete(worker, fence, data=OTHER)
    assert other.outcome == worker_pb2.OUTCOME_DIGEST_MISMATCH
    await scene.check()
    accepted = await scene.complete(worker, fence)
    assert accepted.outcome == worker_pb2.OUTCOME_ACCEPTED


@pytest.mark.parametrize(
    ("output", "data", "outcome", "message"),
    [
        ("update", OTHER, worker_pb2.OUTCOME_DIGEST_MISMATCH, "update was granted with sha256:"),
        ("base", OTHER, worker_pb2.OUTCOME_INVALID, "a task TRAIN hands in update"),
    ],
)
async def test_a_result_must_be_what_was_granted(
    scene: Scene, output: str, data: bytes, outcome: worker_pb2.Outcome, message: str
) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    answer = await scene.complete(worker, fence, output, data)
    assert answer.outcome == outcome
    assert answer.message.startswith(message)
    assert await scene.rows(updates) == []


async def test_a_result_that_was_never_granted_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    answer = await scene.complete(worker, await scene.lease(worker))
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, "update was never granted")


async def test_weights_that_are_not_stored_do_not_count(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.job()
    fence = await scene.lease(worker)
    from services.coordinator.tests.support import declaration

    request = worker_pb2.UploadRequest(fence=fence, output="base", declaration=declaration(OTHER))
    await scene.results.grant(worker, request, "nonce")
    answer = await scene.complete(worker, fence, "base", OTHER)
    assert answer.outcome == worker_pb2.OUTCOME_INVALID
    assert answer.message == "base is not stored whole: upload what is left"


async def test_a_late_result_is_stale_and_nothing_else(scene: Scene) -> None:
    worker, other = await scene.worker("ada"), await scene.worker("bob")
    job = await scene.training(worker)
    late = await scene.lease(worker)
    await scene.upload(worker, late)
    assert await scene.leases.expire(late, leased=True)
    assert (await scene.complete(worker, late)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert (await scene.upload(worker, late)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert not await scene.leases.fail(worker, late, worker_pb2.FAIL_REASON_TASK, "")
    assert await scene.rows(updates) == []
    assert scene.told[-1].cancelled == []

    new = await scene.done(other)
    await scene.check()
    await scene.merge()
    assert (await scene.complete(worker, late)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    (counted,) = await scene.rows(contributions)
    assert counted.fence == new
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED
    await assert_invariants(scene.database, scene.store)


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


# --- aggregators ---


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


# --- cancel ---


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


# --- restarts and replicas ---


async def test_a_worker_keeps_its_lease_over_a_restart_of_the_coordinator(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    scene.now += 3 * TTL
    after = scene.replica("r-2")
    epoch, live = await after.hello(worker, "incarnation-1", [fence])
    assert epoch == 2
    assert [row.fence for row in live] == [fence]
    assert await after.orphans([], TTL) == []
    assert not await after.expire_overdue(fence, TTL)
    await scene.upload(worker, fence)
    assert (await scene.complete(worker, fence)).outcome == worker_pb2.OUTCOME_RECEIVED


async def test_leases_of_workers_that_never_return_are_orphans(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    after = scene.replica("r-2")
    scene.now += TTL + 1
    assert await after.orphans([], TTL) == []
    scene.now += TTL
    assert await after.orphans([fence], TTL) == []
    assert await after.orphans([], TTL) == [fence]
    assert await after.expire_overdue(fence, TTL)
    assert not await after.expire_overdue(fence, TTL)
    assert (await scene.row(tasks, kind=TaskKind.TRAIN)).state == TaskState.READY


async def test_a_replica_leaves_leases_alone_that_moved_with_their_worker(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.replica("r-2").hello(worker, "incarnation-1", [fence])
    assert not await scene.leases.expire(fence, leased=True)
    assert (await scene.row(attempts, fence=fence)).state == AttemptState.LEASED


async def test_an_agent_that_restarted_loses_what_it_held(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker, shards=2)
    held, offered = await scene.lease(worker), await scene.offer(worker)
    _, live = await scene.leases.hello(worker, "incarnation-2", [])
    assert live == []
    states = {row.fence: row.state for row in await scene.rows(attempts)}
    assert (states[held], states[offered]) == (AttemptState.EXPIRED, AttemptState.EXPIRED)
    assert [row.lost for row in await scene.rows(tasks, kind=TaskKind.TRAIN)] == [1, 0]


async def test_an_agent_that_reconnects_keeps_what_it_holds(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker, shards=3)
    held, unheard, offered = await scene.lease(worker), await scene.lease(worker), await scene.offer(worker)
    _, live = await scene.leases.hello(worker, "incarnation-1", [held])
    assert [row.fence for row in live] == [held, offered]
    task = next(row for row in await scene.rows(tasks, kind=TaskKind.TRAIN, state=TaskState.READY))
    assert (task.lost, (await scene.row(attempts, fence=unheard)).state) == (0, AttemptState.EXPIRED)


async def test_a_flush_finds_leases_that_ended_elsewhere(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, shards=2)
    kept, _ = await scene.lease(worker), await scene.lease(worker)
    assert await scene.leases.flush({worker: scene.now}, [kept]) == []
    await scene.jobs.cancel(f"jobs/{job}")
    assert await scene.leases.flush({worker: scene.now}, [kept]) == [kept]
    await scene.jobs.delete(f"jobs/{job}")
    assert await scene.leases.flush({}, [kept]) == [kept]


async def test_silent_sessions_are_closed(scene: Scene) -> None:
    worker = await scene.worker()
    assert (await scene.workers.get(f"workers/{worker}")).online
    scene.now += 2 * TTL + 1
    await scene.leases.close_lost_sessions(2 * TTL)
    assert not (await scene.workers.get(f"workers/{worker}")).online
    await scene.leases.flush({worker: scene.now}, [])
    assert (await scene.workers.get(f"workers/{worker}")).online


async def test_a_banned_worker_loses_what_it_holds_at_once(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.workers.ban(f"workers/{worker}")
    assert (worker, fence, "banned by the operator") in [item for told in scene.told for item in told.cancelled]
    assert (await scene.upload(worker, fence)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    task = await scene.row(tasks, kind=TaskKind.TRAIN)
    assert (task.state, task.lost, task.failures) == (TaskState.READY, 0, 0)


def live_attempt(fence: int, deadline: float, *, leased: bool) -> LiveAttempt:
    return LiveAttempt(fence, "TRAIN", "job", 1, 0, leased, deadline, 0.0)


def test_the_newest_session_of_a_worker_wins() -> None:
    sessions = Sessions()
    capabilities = worker_pb2.Capabilities(slots=2)
    old = WorkerSession("ada", 1, Pool.TRUSTED, "incarnation", capabilities, drained=False)
    new = WorkerSession("ada", 2, Pool.TRUSTED, "incarnation", capabilities, drained=False)
    sessions.open(old)
    sessions.hold("ada", live_attempt(7, 0.0, leased=True))
    sessions.open(new)
    assert (old.connected, sessions.get("ada")) == (False, new)
    assert sessions.drop("ada", 7) is None
    assert new.free_slots == 2


def test_paused_and_drained_sessions_have_no_free_slot() -> None:
    session = WorkerSession("ada", 1, Pool.TRUSTED, "i", worker_pb2.Capabilities(slots=2), drained=False)
    assert session.free_slots == 2
    session.paused = True
    assert (session.free_slots, session.takes_work) == (0, False)
    session.paused, session.drained = False, True
    assert (session.free_slots, session.takes_work) == (0, False)
