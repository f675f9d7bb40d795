"""Puts the coordinator together: the one place that constructs adapters."""

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError

from trainnet.coordinator.admission import Admission
from trainnet.coordinator.deadlines import Deadlines
from trainnet.coordinator.housekeeping import Housekeeping
from trainnet.coordinator.messaging.nats_auth import NatsAuth
from trainnet.coordinator.messaging.peers import Peers
from trainnet.coordinator.messaging.relay import Relay
from trainnet.coordinator.scheduler import Scheduler
from trainnet.coordinator.sessions import Sessions
from trainnet.coordinator.settings import CoordinatorSettings
from trainnet.coordinator.storage.clock import SharedClock
from trainnet.coordinator.storage.database import DatabaseAway, Effects
from trainnet.coordinator.storage.migrate import migrate
from trainnet.coordinator.storage.opening import UnknownDatabase, open_database
from trainnet.coordinator.transport.auth import AuthInterceptor
from trainnet.coordinator.transport.catalog_service import CatalogServicer
from trainnet.coordinator.transport.dataset_service import DatasetServicer
from trainnet.coordinator.transport.job_service import JobServicer
from trainnet.coordinator.transport.merge_service import MergeServicer
from trainnet.coordinator.transport.model_service import ModelServicer
from trainnet.coordinator.transport.operator_service import OperatorServicer
from trainnet.coordinator.transport.retry import RetryInterceptor
from trainnet.coordinator.transport.worker_service import WorkerServicer
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.datasets import Datasets
from trainnet.coordinator.usecases.giving_up import GivingUp
from trainnet.coordinator.usecases.jobs import Jobs
from trainnet.coordinator.usecases.leases import Leases
from trainnet.coordinator.usecases.merging import Merging
from trainnet.coordinator.usecases.model_files import ModelFiles
from trainnet.coordinator.usecases.models import Models
from trainnet.coordinator.usecases.offers import Offers
from trainnet.coordinator.usecases.replicas import Replicas
from trainnet.coordinator.usecases.results import Results
from trainnet.coordinator.usecases.retention import Retention
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.coordinator.usecases.workers import Workers
from trainnet.coordinator.watching import Watching
from trainnet.runtime import interceptors, log
from trainnet.runtime.lifecycle import StartupError, supervised
from trainnet.runtime.nats import NatsUnavailable, connect
from trainnet.runtime.server import GrpcServer
from trainnet.runtime.store import ObjectStore
from trainnet.runtime.store_errors import StoreError
from trainnet.v1 import (
    catalog_pb2_grpc,
    dataset_pb2_grpc,
    job_pb2_grpc,
    merge_pb2_grpc,
    model_pb2_grpc,
    operator_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Manifests of large rounds go to aggregators in one message."""


def _reason(error: UnknownDatabase | DatabaseAway | OperationalError) -> str:
    """What the driver said, where it did; a connection that takes too long says nothing."""
    said: BaseException = error if isinstance(error, DBAPIError) else error.__cause__ or error
    if isinstance(said, DBAPIError):
        said = said.orig or said
    return str(said) or "the server does not answer"


async def main(stop: asyncio.Event) -> None:
    settings = CoordinatorSettings.load()
    log.configure("coordinator", level=settings.log_level, format=settings.log_format)
    logger = log.get_logger(__name__)
    replica = f"r-{secrets.token_hex(6)}"

    store = ObjectStore.from_settings(settings)
    try:
        await asyncio.to_thread(store.ensure_bucket)
        await asyncio.to_thread(store.check_conformance)
    except StoreError as error:
        raise StartupError(f"the object store at {settings.s3_endpoint} cannot be used: {error}") from None
    try:
        database = open_database(settings.database_url)
        await migrate(database)
        clock = SharedClock(database)
        await clock.look()
    except (UnknownDatabase, DatabaseAway, OperationalError) as error:
        raise StartupError(f"TRAINNET_DATABASE_URL: {_reason(error)}") from None

    context = Context(database, store, Uploads(store, settings.url_ttl), settings, clock)
    workers, datasets, models, jobs = Workers(context), Datasets(context), Models(context), Jobs(context)
    giving_up = GivingUp(context, datasets)
    leases = Leases(context, giving_up, replica)
    results, merging = Results(context, datasets, jobs), Merging(context, giving_up)
    sessions = Sessions()
    watching = Watching(jobs, leases, sessions)

    async def nats_closed() -> None:
        """A connection that NATS closed for good never comes back by itself: a fresh start of this replica does."""
        stop.set()

    callout_password = settings.nats_callout_password.get_secret_value()
    password = settings.nats_password.get_secret_value() if settings.nats_password else None
    try:
        callout = await connect(
            settings.nats_url,
            name="coordinator-auth",
            user=settings.nats_callout_user,
            password=callout_password,
            on_closed=nats_closed,
        )
        nats = await connect(
            settings.nats_url, name="coordinator", user=settings.nats_user, password=password, on_closed=nats_closed
        )
    except NatsUnavailable as error:
        raise StartupError(str(error)) from None
    await NatsAuth(callout, settings.nats_callout_seed.get_secret_value(), workers).start()

    scheduler = Scheduler(context, Offers(context), sessions, nats)
    deadlines = Deadlines(context)
    relay = Relay(context, nats)
    housekeeping = Housekeeping(context, leases, giving_up, sessions, Retention(context))
    admission = Admission(workers, sessions, scheduler.wake)
    watching.workers_changed = scheduler.wake

    def heard(effects: Effects) -> None:
        """After each commit, here or of another replica: wake whoever it concerns."""
        for name in effects.changed:
            if name.startswith("workers/"):
                admission.changed(name)  # first: what is taken back from a worker must not go out to it again
            else:
                watching.changed(name)
        if effects.workers_wanted:
            scheduler.wake()
        if effects.aggregators_wanted:
            merging.wake()
        for worker, fence, reason in effects.cancelled:
            sessions.call_back(worker, fence, reason)
        for worker, fence, accepted, message in effects.verdicts:
            session = sessions.get(worker)
            if session is not None:
                outcome = worker_pb2.OUTCOME_ACCEPTED if accepted else worker_pb2.OUTCOME_REJECTED
                session.send(result=worker_pb2.Result(fence=fence, outcome=outcome, message=message))

    peers = Peers(Replicas(context, replica), clock, nats, settings.lease_ttl / 4, heard)

    def committed(effects: Effects) -> None:
        heard(effects)
        peers.tell(effects)
        if effects.outbox_filled:
            relay.wake()
        if effects.timers_set:
            deadlines.wake()

    database.on_commit = committed
    await peers.start()

    around = interceptors.standard()
    around.insert(2, AuthInterceptor(settings, workers))  # before validation: strangers learn nothing of the fields
    around.append(RetryInterceptor())
    server = GrpcServer(
        settings.listen,
        interceptors=around,
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    services: dict[str, Callable[[Any], None]] = {
        "DatasetService": partial(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, DatasetServicer(datasets)),
        "CatalogService": partial(catalog_pb2_grpc.add_CatalogServiceServicer_to_server, CatalogServicer()),
        "JobService": partial(
            job_pb2_grpc.add_JobServiceServicer_to_server, JobServicer(jobs, ModelFiles(context), watching)
        ),
        "MergeService": partial(merge_pb2_grpc.add_MergeServiceServicer_to_server, MergeServicer(merging)),
        "ModelService": partial(model_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(models)),
        "OperatorService": partial(
            operator_pb2_grpc.add_OperatorServiceServicer_to_server, OperatorServicer(workers, sessions)
        ),
        "WorkerService": partial(
            worker_pb2_grpc.add_WorkerServiceServicer_to_server,
            WorkerServicer(context, workers, leases, results, sessions, watching),
        ),
    }
    for name, registrar in services.items():
        server.add(registrar, f"trainnet.v1.{name}")

    loops = {
        "scheduler": scheduler.run,
        "deadlines": deadlines.run,
        "relay": relay.run,
        "peers": peers.run,
        "admission": admission.run,
        "expire": housekeeping.expire,
        "flush": housekeeping.flush,
        "collect": housekeeping.collect,
        "sweep": housekeeping.sweep,
    }
    async with asyncio.TaskGroup() as group:
        running = [supervised(group, loop(stop), name) for name, loop in loops.items()]
        async with server:
            logger.info("coordinator ready", port=server.port, replica=replica, loops=len(running))
            if settings.ready_file is not None:
                settings.ready_file.write_text(f"{server.port}\n")
            await stop.wait()
            watching.stopping.set()
            merging.close()
            relay.wake()
            peers.wake()
            scheduler.wake()
            admission.wake()
            deadlines.wake()
            for session in sessions:
                session.send(drain=worker_pb2.Drain(reconnect=True, reason="the coordinator stops"))
                session.outgoing.put_nowait(None)
            await server.drain(settings.drain_grace)
    await nats.close()
    await callout.close()
    await database.close()
    store.close()
