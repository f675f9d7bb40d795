"""Restarts and replicas: who keeps a lease, who loses it, what sessions say in memory."""

from services.coordinator.tests.scene import TTL, Scene
from trainnet.coordinator.domain.states import AttemptState, Pool, TaskKind, TaskState
from trainnet.coordinator.sessions import LiveAttempt, Sessions, WorkerSession
from trainnet.coordinator.storage.mishaps import history_of
from trainnet.coordinator.storage.schema import attempts, tasks
from trainnet.v1 import worker_pb2


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
    histories = [history_of(row)[worker] for row in await scene.rows(tasks, kind=TaskKind.TRAIN)]
    assert [(record.lost, record.ignored) for record in histories] == [(1, 0), (0, 1)]


async def test_an_agent_that_reconnects_keeps_what_it_holds(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker, shards=3)
    held, unheard, offered = await scene.lease(worker), await scene.lease(worker), await scene.offer(worker)
    _, live = await scene.leases.hello(worker, "incarnation-1", [held])
    assert [row.fence for row in live] == [held, offered]
    task = next(row for row in await scene.rows(tasks, kind=TaskKind.TRAIN, state=TaskState.READY))
    assert (await scene.row(attempts, fence=unheard)).state == AttemptState.EXPIRED
    record = history_of(task)[worker]
    assert (record.lost, record.returned) == (0, 1)


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
    assert (task.state, task.history) == (TaskState.READY, "{}")


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
