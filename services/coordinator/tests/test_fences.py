"""Fences: accepts and results twice, late, or from the wrong hand; nothing counts twice."""

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import safetensors
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.scheduling import Match
from trainnet.coordinator.storage.schema import contributions, updates
from trainnet.coordinator.usecases.offers import Offers
from trainnet.v1 import job_pb2, worker_pb2

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
    rows = {row.id: row for row in await scene.offers.ready(trusted=True, architectures=ARCHITECTURES, limit=10)}
    (won,) = await scene.offers.offer([Match(min(rows), ada)], rows)
    assert await Offers(scene.context).offer([Match(min(rows), bob)], rows) == []
    assert won.worker == ada


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
