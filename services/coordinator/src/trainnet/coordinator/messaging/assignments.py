"""Doorbells: an assignment is published on its worker's subject after its commit. Nothing depends on its arrival."""

import nats.errors
from nats.aio.client import Client

from trainnet.coordinator.domain import names
from trainnet.coordinator.storage.events import timestamp
from trainnet.coordinator.usecases.offers import Offer
from trainnet.runtime.log import get_logger
from trainnet.v1 import events_pb2


def subject_of(worker: str) -> str:
    return f"trainnet.v1.assignments.{worker}"


async def ring(client: Client, offer: Offer) -> None:
    """Publishes one assignment; while NATS is away the worker hears of it in its desired state."""
    if not client.is_connected:
        return
    task = offer.task
    assigned = events_pb2.TaskAssigned(
        worker=names.worker(offer.worker),
        fence=offer.fence,
        kind=f"TASK_KIND_{task.kind}",
        job=names.job(task.job) if task.job else "",
        round=task.round,
        shard=task.shard,
        expire_time=timestamp(offer.expires),
    )
    try:
        await client.publish(subject_of(offer.worker), assigned.SerializeToString())
    except (nats.errors.Error, OSError) as error:
        get_logger(__name__).debug("doorbell not rung", fence=offer.fence, error=str(error))
