"""Outbox rows: an event is written in the transaction of what it tells, and published after the commit."""

from google.protobuf.timestamp_pb2 import Timestamp

from trainnet.coordinator.storage import statements
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import outbox
from trainnet.v1 import events_pb2

EVENTS = "trainnet.v1.events"


def timestamp(seconds: float) -> Timestamp:
    """Unix seconds as the contract's type."""
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


async def emit(tx: Transaction, scope: str, event: events_pb2.Event, now: float) -> None:
    """Queues `event` for `trainnet.v1.events.<scope>.<event>`; `scope` is the id of its job or data set."""
    event.time.CopyFrom(timestamp(now))
    subject = f"{EVENTS}.{scope}.{event.WhichOneof('event')}"
    await statements.add(tx, outbox, {"subject": subject, "payload": event.SerializeToString(), "created": now})
    tx.effects.outbox_filled = True
