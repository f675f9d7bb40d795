"""The aggregator put together: the one place that constructs adapters."""

from __future__ import annotations

import asyncio

from trainnet.aggregator.check import Checker
from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import Objects
from trainnet.aggregator.room import Room
from trainnet.aggregator.settings import AggregatorSettings
from trainnet.aggregator.transport.claims import Claims
from trainnet.aggregator.transport.coordinator import Coordinator, RefusedError
from trainnet.aggregator.work import Worker
from trainnet.runtime import log
from trainnet.runtime.lifecycle import StartupError
from trainnet.runtime.store import ObjectStore


async def main(stop: asyncio.Event) -> None:
    """Serves until `stop`. Raises SettingsError, StartupError."""
    settings = AggregatorSettings.load()
    log.configure("aggregator", level=settings.log_level, format=settings.log_format)
    logger = log.get_logger(__name__)

    def ready() -> None:
        if settings.ready_file is not None:
            settings.ready_file.touch()
        logger.info("claiming work", coordinator=settings.coordinator, name=settings.name)

    with ObjectStore.from_settings(settings) as store:
        objects = Objects(store)
        checker = Checker(store, objects, slice_bytes=settings.slice_bytes)
        engine = Engine(store, objects, threads=settings.threads, slice_bytes=settings.slice_bytes)
        token = settings.aggregator_token.get_secret_value()
        async with Coordinator(settings.coordinator, token, settings.name) as coordinator:
            worker = Worker(checker, engine, Room(settings.checks))
            claims = Claims(coordinator, worker.do, checks=settings.checks, on_ready=ready)
            try:
                await claims.run(stop)
            except RefusedError as refused:
                raise StartupError(
                    f"the coordinator at {settings.coordinator} refused us ({refused}): is TRAINNET_AGGREGATOR_TOKEN "
                    "its own?"
                ) from None
