"""Backups of stragglers: a second worker for a shard that takes too long; the first accepted update wins."""

import pytest

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.scene import Scene
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.scheduling import Match
from trainnet.coordinator.storage.schema import attempts, contributions, rounds, tasks, updates
from trainnet.coordinator.usecases.timers import Timers
from trainnet.v1 import job_pb2, task_pb2, worker_pb2

TWICE = job_pb2.Participation(backup_after=2)


async def straggling(scene: Scene) -> tuple[str, str, str, int]:
    """(job, ada, eve, eve's fence): ada's shard was accepted after 10 s, eve is still at the other one after 25, and it
    has a backup."""
    ada, eve = await scene.worker("ada"), await scene.worker("eve")
    job = await scene.training(ada, shards=2, participation=TWICE)
    slow = await scene.lease(eve)
    fast = await scene.lease(ada)
    scene.now += 10
    await scene.upload(ada, fast)
    await scene.complete(ada, fast)
    await scene.check()
    assert scene.told[-1].timers_set
    timers = Timers(scene.context)
    assert await timers.due() == [(job, 1)]
    assert not await timers.look(job, 1)
    assert await timers.next() == pytest.approx(scene.now + 10), "twice the 10 s that ada took"
    assert await scene.rows(tasks, kind="TRAIN", state="READY") == []
    scene.now += 15
    await timers.look(job, 1)
    assert await timers.next() is None, "nobody is left to look after"
    return job, ada, eve, slow


async def test_a_straggler_gets_a_backup_and_whoever_is_first_wins(scene: Scene) -> None:
    job, ada, eve, slow = await straggling(scene)
    (backup,) = await scene.rows(tasks, kind="TRAIN", state="READY")
    first = await scene.row(tasks, id=backup.backup_of)
    assert (backup.shard, backup.identity) == (first.shard, f"{first.identity}/backup")
    assert await scene.offers.taken([backup]) == {backup.id: frozenset({eve})}

    fence = await scene.done(ada)
    await scene.check()
    assert (await scene.row(attempts, fence=slow)).state == "SUPERSEDED"
    (told,) = [effects.cancelled for effects in scene.told if effects.cancelled]
    assert told == [(eve, slow, "another worker's update of this shard was accepted first")]
    answer = await scene.complete(eve, slow)
    assert answer.outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert answer.message.endswith("(another worker's update of this shard was accepted first)")
    assert (await scene.row(rounds, job=job)).decision == "all 2 shards accepted"
    await scene.merge()
    assert fence in {row.fence for row in await scene.rows(contributions)}
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED
    await assert_invariants(scene.database, scene.store)


async def test_a_straggler_that_is_first_after_all_wins(scene: Scene) -> None:
    _, ada, eve, slow = await straggling(scene)
    second = await scene.done(ada)  # waits for its check
    await scene.upload(eve, slow)
    await scene.complete(eve, slow)
    claims = {task.check.update.key: task for task in [await scene.claim(task_pb2.TASK_KIND_CHECK) for _ in range(2)]}
    (of_eve,) = [task for key, task in claims.items() if f"/{slow}-" in key]
    await scene.verdict(of_eve.fence)
    assert (await scene.row(attempts, fence=second)).state == "SUPERSEDED"
    late = await scene.row(updates, fence=second)
    assert (late.state, late.reason) == ("REJECTED", "another worker's update of this shard was accepted first")
    assert (ada, second, False, late.reason) in scene.told[-1].verdicts
    (counted,) = [row for row in await scene.rows(updates, state="ACCEPTED") if row.shard == late.shard]
    assert counted.fence == slow
    await scene.merge()
    await assert_invariants(scene.database, scene.store)


async def test_a_backup_that_is_given_up_gives_no_shard_up(scene: Scene) -> None:
    job, ada, eve, slow = await straggling(scene)
    backup = await scene.lease(ada)
    async with scene.database.write() as tx:
        row = await scene.row(tasks, id=(await scene.row(attempts, fence=backup)).task)
        await scene.giving_up.give_up(tx, row, "it was bad", scene.now)
    assert (await scene.row(rounds, job=job)).state == "OPEN"
    await scene.upload(eve, slow)
    await scene.complete(eve, slow)
    await scene.check()
    assert (await scene.row(rounds, job=job)).decision == "all 2 shards accepted"
    await scene.merge()
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_shard_is_given_up_with_the_last_of_its_tasks(scene: Scene) -> None:
    job, ada, eve, slow = await straggling(scene)
    backup = await scene.lease(ada)
    for worker, fence in ((eve, slow), (ada, backup)):
        assert (await scene.row(rounds, job=job)).state == "OPEN"
        row = await scene.row(tasks, id=(await scene.row(attempts, fence=fence)).task)
        async with scene.database.write() as tx:
            await scene.giving_up.give_up(tx, row, f"bad for {worker}", scene.now)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_FAILED


async def test_a_backup_waits_for_somebody_else(scene: Scene) -> None:
    _, ada, eve, slow = await straggling(scene)
    rows = {row.id: row for row in await scene.offers.ready(trusted=True, architectures=ARCHITECTURES, limit=10)}
    (backup,) = rows
    taken = await scene.offers.taken(rows.values())
    assert eve in taken[backup]
    (offer,) = await scene.offers.offer([Match(backup, ada)], rows)
    assert await scene.leases.accept(ada, offer.fence) is not None
    # What the straggler lost goes out again beside the backup.
    assert await scene.leases.expire(slow, leased=True)
    assert [row.id for row in await scene.rows(tasks, kind="TRAIN", state="READY")] == [rows[backup].backup_of]


async def test_a_round_without_the_wish_has_no_backups(scene: Scene) -> None:
    ada, eve = await scene.worker("ada"), await scene.worker("eve")
    job = await scene.training(ada, shards=2)
    await scene.lease(eve)
    await scene.done(ada)
    await scene.check()
    assert (await scene.row(rounds, job=job)).due is None
    assert await Timers(scene.context).next() is None
