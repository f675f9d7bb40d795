"""A worker that asks too much, too often, is told so and may come back; all others notice nothing."""

from pathlib import Path

import grpc

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import refused
from trainnet.coordinator.transport.limits import Limits
from trainnet.local.stack import LocalStack
from trainnet.v1 import worker_pb2

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_flood_of_messages_ends_its_session_alone(infrastructure: LocalStack, tmp_path: Path) -> None:
    async with Coordinator(infrastructure, tmp_path, session_rate=0.001, session_burst=20) as coordinator:
        flood, quiet = await coordinator.worker("flood"), await coordinator.worker("quiet")
        for _ in range(21):
            await flood.send(progress=worker_pb2.Progress(fence=99))
        ended = await flood.ended()
        assert ended is not None
        assert (ended.code, ended.reason) == (EXHAUSTED, "TOO_MANY_MESSAGES")
        assert ended.metadata == {"per_second": "0.001", "burst": "20"}
        await quiet.heartbeat()
        await (await coordinator.session(flood.identity)).heartbeat()


async def test_a_worker_that_says_hello_all_the_time_is_refused(infrastructure: LocalStack, tmp_path: Path) -> None:
    async with Coordinator(infrastructure, tmp_path, hello_rate=0.001, hello_burst=3) as coordinator:
        identity = await coordinator.register()
        sessions = [await coordinator.session(identity) for _ in range(3)]
        async with refused(EXHAUSTED, "TOO_MANY_HELLOS"):
            await coordinator.session(identity)
        await sessions[-1].heartbeat()  # the refused hello took nothing from the session that stands
        await coordinator.worker("quiet")


async def test_registrations_from_one_address_are_limited(infrastructure: LocalStack, tmp_path: Path) -> None:
    async with Coordinator(infrastructure, tmp_path, register_rate=0.001, register_burst=3) as coordinator:
        for name in ("ada", "bob"):
            await coordinator.register(name)
        async with refused(grpc.StatusCode.UNAUTHENTICATED, "BAD_JOIN_TOKEN"):
            await coordinator.register("eve", "guessed")  # guesses count too
        async with refused(EXHAUSTED, "TOO_MANY_REGISTRATIONS") as found:
            await coordinator.register("cyd")
        assert "127.0.0.1" in found[0].metadata["address"]


async def test_honest_crowds_stay_below_the_defaults(scene: Scene) -> None:
    """12 rounds a second with 25 messages each, for a minute; 10,000 workers that join from one address at once."""
    now = 0.0
    limits = Limits(scene.settings, lambda: now)
    count = limits.session()
    for _ in range(60 * 12 * 25):
        now += 1 / (12 * 25)
        count()
    for number in range(10_000):
        limits.registration(f"ipv4:10.0.0.1:{number}")
        limits.hello(f"w{number}")
