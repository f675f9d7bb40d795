"""Replicas that share a database: who is alive, and what one tells the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import TTL, Scene
from services.coordinator.tests.support import noop_spec, until
from trainnet.coordinator.messaging.peers import ENTRIES, Peers
from trainnet.coordinator.storage.clock import SharedClock
from trainnet.coordinator.storage.database import Effects
from trainnet.coordinator.storage.schema import replicas
from trainnet.coordinator.usecases.replicas import FORGET_SECONDS, Replicas
from trainnet.local.stack import LocalStack
from trainnet.runtime.nats import connect
from trainnet.v1 import job_pb2, operator_pb2


class Replica:
    def __init__(self, scene: Scene, peers: Peers, heard: Effects) -> None:
        self.scene, self.peers, self.heard = scene, peers, heard


@asynccontextmanager
async def replica(scene: Scene, name: str) -> AsyncIterator[Replica]:
    """What a replica has of messaging to others, on a connection of its own."""
    settings, heard, stop = scene.settings, Effects(), asyncio.Event()
    assert settings.nats_password is not None
    password = settings.nats_password.get_secret_value()
    client = await connect(settings.nats_url, name=name, user=settings.nats_user, password=password)
    peers = Peers(Replicas(scene.context, name), SharedClock(scene.database), client, 0.2, heard.add)
    await peers.start()
    loop = asyncio.create_task(peers.run(stop))
    try:
        yield Replica(scene, peers, heard)
    finally:
        stop.set()
        peers.wake()
        await loop
        await client.close()


async def test_what_one_replica_commits_the_others_hear_of(scene: Scene) -> None:
    async with replica(scene, "r-one") as one, replica(scene, "r-two") as two, replica(scene, "r-three") as three:
        told = Effects(
            workers_wanted=True,
            aggregators_wanted=True,
            changed={f"jobs/j-{number}" for number in range(ENTRIES + 1)},
            verdicts=[("ada", 7, False, "NORM: too long"), ("bob", 8, True, "")],
            cancelled=[("cid", 9, "the job ended")],
        )

        async def known() -> bool:
            one.peers.tell(told)
            one.peers.wake()
            return bool(two.heard.cancelled and three.heard.cancelled)

        await until(known, "both others hear of it")
        for other in (two, three):
            assert (other.heard.workers_wanted, other.heard.aggregators_wanted) == (True, True)
            assert other.heard.changed == told.changed
            assert set(other.heard.verdicts) == set(told.verdicts)
            assert set(other.heard.cancelled) == set(told.cancelled)
        assert one.heard == Effects(), "nobody wakes itself"


async def test_a_replica_knows_those_that_were_there_and_those_that_come(scene: Scene) -> None:
    async with replica(scene, "r-one") as one, replica(scene, "r-two") as two:

        async def both() -> bool:
            for this, job in ((one, "jobs/by-one"), (two, "jobs/by-two")):
                this.peers.tell(Effects(changed={job}))
            return (one.heard.changed, two.heard.changed) == ({"jobs/by-two"}, {"jobs/by-one"})

        await until(both, "each hears of the other")


async def test_replicas_are_alive_for_the_time_of_a_lease(scene: Scene) -> None:
    one, two = Replicas(scene.context, "r-one"), Replicas(scene.context, "r-two")
    assert await one.alive() == set()
    assert await two.alive() == {"r-one"}
    scene.now += TTL + 1
    assert await two.alive() == set()
    scene.now += FORGET_SECONDS
    await two.alive()
    assert [row.id for row in await scene.rows(replicas)] == ["r-two"]


async def test_leases_of_a_replica_that_lives_are_left_to_it(scene: Scene) -> None:
    worker = await scene.worker()  # connected to r-1
    await scene.training(worker)
    fence = await scene.lease(worker)
    owner, other = Replicas(scene.context, "r-1"), scene.replica("r-2")
    scene.now += 3 * TTL
    await owner.alive()
    assert await other.orphans([], TTL) == []
    assert await scene.leases.orphans([], TTL) == [fence], "its own it looks at itself"
    scene.now += TTL + 1
    assert await other.orphans([], TTL) == [fence]


async def test_the_shared_clock_is_that_of_the_database(scene: Scene) -> None:
    clock = SharedClock(scene.database)
    clock._ahead += 3600.0
    before = await scene.database.time()
    await clock.look()
    assert before <= clock() <= await scene.database.time() + 1.0


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_what_the_operator_tells_one_replica_holds_for_the_workers_of_all(
    infrastructure: LocalStack, coordinator: Coordinator
) -> None:
    worker = await coordinator.worker("ada")
    other = Coordinator(infrastructure, coordinator.folder, database_url=coordinator.url)
    async with other:
        await other.operator.DrainWorker(operator_pb2.DrainWorkerRequest(name=worker.name))

        async def slots() -> int:
            return (await coordinator.operator.GetQueues(operator_pb2.GetQueuesRequest())).free_slots

        async def drained() -> bool:
            return await slots() == 0

        await until(drained, "the replica that has the session hears of the drain")
        await other.operator.DrainWorker(operator_pb2.DrainWorkerRequest(name=worker.name, undo=True))
        await coordinator.create(noop_spec(shards=1))
        held = await worker.take()
        await other.operator.BanWorker(operator_pb2.BanWorkerRequest(name=worker.name))
        await worker.hear("cancel", held.fence)
        assert not (await worker.hear("drain")).drain.reconnect
        assert await worker.ended() is None
        bob = await coordinator.worker("bob")
        assert (await bob.take()).kind == held.kind


async def test_a_commit_here_wakes_the_other_coordinator(infrastructure: LocalStack, coordinator: Coordinator) -> None:
    """Seen on the wire: the subject is the other replica's own."""
    assert infrastructure.secrets is not None
    password = infrastructure.secrets.nats_coordinator_password
    listener = await connect(infrastructure.endpoints.nats, name="test", user="coordinator", password=password)
    other = Coordinator(infrastructure, coordinator.folder, database_url=coordinator.url)
    subscription = await listener.subscribe("trainnet.v1.internal.*")
    async with other:
        job = await other.create(noop_spec(shards=1))
        assert job.state == job_pb2.JOB_STATE_PREPARING

        async def woken() -> bool:
            message = await subscription.next_msg(timeout=10)
            return job.name.encode() in message.data

        await until(woken, "the first coordinator is told of the job")
    await listener.close()
