"""The outbox relay: publishes committed events to JetStream, at least once.

A row is claimed for a while, published, and deleted once the stream acknowledged it. A relay that dies in between
leaves a claim that runs out; the next attempt carries another message id, so that deduplication does not swallow it.
"""

import asyncio
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from sqlalchemy import Row, bindparam, or_, select, update

from trainnet.coordinator.storage.database import NotNow
from trainnet.coordinator.storage.events import EVENTS
from trainnet.coordinator.storage.schema import outbox
from trainnet.coordinator.storage.statements import change, remove
from trainnet.coordinator.usecases.context import Context
from trainnet.runtime.lifecycle import wait_or_stop
from trainnet.runtime.log import get_logger
from trainnet.v1 import events_pb2

STREAM = "TRAINNET_EVENTS"
BATCH = 500
CLAIM_SECONDS = 10.0
GATHER_SECONDS = 0.05
"""Events come in bursts; publishing a burst as one batch costs two transactions instead of two per event."""
HEAL_SECONDS = 5.0


_WAITING = (
    select(outbox.c.id)
    .where(or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until < bindparam("now")))
    .order_by(outbox.c.id)
    .limit(BATCH)
)
_CLAIMABLE = _WAITING.with_for_update(skip_locked=True).cte("claimable")
# A CTE: PostgreSQL may run a subquery with SKIP LOCKED once for each row, and then it takes far more than the limit.
_CLAIM = (
    update(outbox)
    .where(outbox.c.id.in_(select(_CLAIMABLE.c.id)))
    .values(claimed_until=bindparam("until"), attempts=outbox.c.attempts + 1)
    .returning(outbox)
)


class Relay:
    def __init__(self, context: Context, client: Client) -> None:
        self._context = context
        self._client = client
        self._filled = asyncio.Event()
        self._stream_known = False
        self._log = get_logger(__name__)

    def wake(self) -> None:
        self._filled.set()

    async def run(self, stop: asyncio.Event) -> None:
        self._filled.set()
        while not stop.is_set():
            try:
                async with asyncio.timeout(HEAL_SECONDS):
                    await self._filled.wait()
            except TimeoutError:
                pass  # rows whose relay died wait for this look
            await wait_or_stop(stop, GATHER_SECONDS)
            self._filled.clear()
            try:
                while await self._publish_batch():
                    pass
            except (nats.errors.Error, nats.js.errors.Error, NotNow, TimeoutError, OSError) as error:
                self._stream_known = False
                self._log.warning("events wait in the outbox", error=str(error) or type(error).__name__)
                self._filled.set()
                await wait_or_stop(stop, 1.0)

    async def _publish_batch(self) -> int:
        """Publishes up to a batch; answers how many rows it took."""
        if not self._client.is_connected:
            raise nats.errors.ConnectionClosedError
        now = self._context.clock()
        looked_for = {"now": now, "until": now + CLAIM_SECONDS}
        async with self._context.database.read() as tx:
            if await tx.one(_WAITING, looked_for) is None:
                return 0
        async with self._context.database.write() as tx:
            taken = await tx.execute(_CLAIM, looked_for)
            rows = sorted(taken.all(), key=lambda row: row.id)
        ids = [row.id for row in rows]
        try:
            async with asyncio.timeout(CLAIM_SECONDS / 2):
                await self._publish_all(rows)
        except BaseException:
            async with self._context.database.write() as tx:
                await change(tx, outbox, {"id": ids}, claimed_until=None)
            raise
        async with self._context.database.write() as tx:
            await remove(tx, outbox, id=ids)
        return len(rows)

    async def _publish_all(self, rows: list[Row[Any]]) -> None:
        # Where others subscribe to events too, a stream that was wiped shows as a timeout, not as no stream at all.
        # So it is looked up at the start and after each trouble.
        if not self._stream_known:
            await self._make_stream()
            self._stream_known = True
        try:
            await asyncio.gather(*(self._publish(row) for row in rows))
        except nats.js.errors.NoStreamResponseError:
            # The store of NATS was wiped. What was published twice carries its id.
            await self._make_stream()
            await asyncio.gather(*(self._publish(row) for row in rows))

    async def _publish(self, row: Row[Any]) -> None:
        event = events_pb2.Event.FromString(row.payload)
        event.id = str(row.id)
        headers = {"Nats-Msg-Id": f"{row.id}.{row.attempts}"}
        await self._client.jetstream().publish(row.subject, event.SerializeToString(), headers=headers)

    async def _make_stream(self) -> None:
        await self._client.jetstream().add_stream(
            StreamConfig(
                name=STREAM,
                subjects=[f"{EVENTS}.>"],
                retention=RetentionPolicy.LIMITS,
                discard=DiscardPolicy.OLD,
                max_age=7 * 24 * 3600,
                max_bytes=1 << 30,
            )
        )
