"""Replicas wake each other: what one commits, the schedulers, claims and watchers of the others hear of at once.

Published on `trainnet.v1.internal.<replica>` for each replica that the database knows to be alive. A message that is
lost costs the latency of the next look that the receiver takes by itself.
"""

import asyncio
from collections.abc import Callable, Iterator

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from trainnet.coordinator.storage.clock import SharedClock
from trainnet.coordinator.storage.database import Effects, NotNow
from trainnet.coordinator.usecases.replicas import Replicas
from trainnet.runtime.log import get_logger
from trainnet.v1 import events_pb2

ENTRIES = 500
"""So many names, verdicts and withdrawals at most in one message: it stays below the payload that NATS takes."""


def subject_of(replica: str) -> str:
    return f"trainnet.v1.internal.{replica}"


class Peers:
    def __init__(
        self, replicas: Replicas, clock: SharedClock, client: Client, period: float, heard: Callable[[Effects], None]
    ) -> None:
        """`period`: seconds from one sign of life to the next. `heard` gets what another replica committed."""
        self._replicas = replicas
        self._clock = clock
        self._client = client
        self._period = period
        self._heard = heard
        self._others: set[str] = set()
        self._pending = Effects()
        self._wanted = asyncio.Event()
        self._log = get_logger(__name__)

    def wake(self) -> None:
        self._wanted.set()

    def tell(self, effects: Effects) -> None:
        """Queues what a commit of this replica means to the others."""
        if self._others and effects.concern_others:
            self._pending.add(effects)
            self._wanted.set()

    async def start(self) -> None:
        """From here on the others know of this replica, and this one of them. Raises NotNow."""
        await self._client.subscribe(subject_of(self._replicas.own), cb=self._received)
        await self._look()
        await self._publish([events_pb2.ReplicaWake(sender=self._replicas.own)])

    async def run(self, stop: asyncio.Event) -> None:
        looked = 0.0
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            try:
                async with asyncio.timeout(self._period):
                    await self._wanted.wait()
            except TimeoutError:
                pass  # time to give a sign of life
            self._wanted.clear()
            # Taken here and not in tell(): what is committed while a message is on its way goes with the next one.
            effects, self._pending = self._pending, Effects()
            await self._publish(_messages(self._replicas.own, effects))
            if loop.time() - looked >= self._period:
                try:
                    await self._look()
                except NotNow as error:
                    self._log.warning("no sign of life is given", error=error.message, cause=str(error.__cause__))
                looked = loop.time()

    async def _look(self) -> None:
        await self._clock.look()
        self._others = await self._replicas.alive()

    async def _publish(self, messages: list[events_pb2.ReplicaWake]) -> None:
        if not self._client.is_connected:
            return
        try:
            for message in messages:
                for other in tuple(self._others):  # one that starts is added while this waits
                    await self._client.publish(subject_of(other), message.SerializeToString())
        except (nats.errors.Error, OSError) as error:
            self._log.debug("other replicas were not woken", error=str(error))

    async def _received(self, message: Msg) -> None:
        wake = events_pb2.ReplicaWake.FromString(message.data)
        self._others.add(wake.sender)
        self._heard(_effects(wake))


def _messages(sender: str, effects: Effects) -> list[events_pb2.ReplicaWake]:
    """As few messages as their size allows; none where there is nothing to tell."""
    if not effects.concern_others:
        return []
    entries: list[dict[str, object]] = [{"changed": [name]} for name in sorted(effects.changed)]
    entries += [
        {"withdrawn": [events_pb2.Withdrawn(worker=worker, fence=fence, reason=reason)]}
        for worker, fence, reason in effects.cancelled
    ]
    entries += [
        {"verdicts": [events_pb2.Verdict(worker=worker, fence=fence, accepted=accepted, message=text)]}
        for worker, fence, accepted, text in effects.verdicts
    ]
    messages = []
    for part in _parts(entries):
        message = events_pb2.ReplicaWake(
            sender=sender, workers_wanted=effects.workers_wanted, aggregators_wanted=effects.aggregators_wanted
        )
        for entry in part:
            message.MergeFrom(events_pb2.ReplicaWake(**entry))  # type: ignore[arg-type]  # one of the lists above
        messages.append(message)
    return messages


def _parts(entries: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    for start in range(0, max(1, len(entries)), ENTRIES):
        yield entries[start : start + ENTRIES]


def _effects(wake: events_pb2.ReplicaWake) -> Effects:
    return Effects(
        workers_wanted=wake.workers_wanted,
        aggregators_wanted=wake.aggregators_wanted,
        changed=set(wake.changed),
        verdicts=[(item.worker, item.fence, item.accepted, item.message) for item in wake.verdicts],
        cancelled=[(item.worker, item.fence, item.reason) for item in wake.withdrawn],
    )
