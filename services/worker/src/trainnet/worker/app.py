"""Builds the agent from its settings and runs it. The one place that constructs adapters."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from trainnet.runtime import lifecycle, log
from trainnet.worker.agent import control
from trainnet.worker.agent.agent import Agent
from trainnet.worker.agent.bandwidth import PIECE, Bandwidth
from trainnet.worker.agent.cache import ArtifactCache
from trainnet.worker.agent.capabilities import device_is_plain
from trainnet.worker.agent.downloads import download
from trainnet.worker.agent.registration import register
from trainnet.worker.agent.session import TokenVoid
from trainnet.worker.agent.storage import CACHE, INPUTS, WORK, AgentFolder, Identity
from trainnet.worker.agent.trainers import TrainerProcess
from trainnet.worker.agent.transfers import SMALL, open_http
from trainnet.worker.agent.work import Performer
from trainnet.worker.errors import AgentError, JoinRefused
from trainnet.worker.settings import WorkerSettings

T = TypeVar("T")


def run(settings: WorkerSettings, *, patience: float | None = None, paused: bool = False) -> int:
    """Runs the agent until a signal and answers the exit code. `patience` bounds the wait for the first contact."""
    log.configure("worker", level=settings.log_level, format=settings.log_format)
    failed = 0

    async def main(stop: asyncio.Event) -> None:
        nonlocal failed
        try:
            await serve(settings, stop, patience=patience, paused=paused)
        except AgentError as error:
            print(f"worker: {error}", file=sys.stderr)
            failed = error.exit_code

    return lifecycle.run(main, service="worker") or failed


async def serve(
    settings: WorkerSettings, stop: asyncio.Event, *, patience: float | None = None, paused: bool = False
) -> None:
    """Runs the agent until `stop` is set or its volunteer leaves. Raises AgentError."""
    folder = AgentFolder(settings.data_dir)
    folder.lock()
    leaving = asyncio.Event()
    try:
        async with contextlib.AsyncExitStack() as stack:
            await _serve(settings, folder, stop, leaving, stack, patience=patience, paused=paused)
        if leaving.is_set():
            folder.wipe()
    finally:
        folder.unlock()


async def _serve(
    settings: WorkerSettings,
    folder: AgentFolder,
    stop: asyncio.Event,
    leaving: asyncio.Event,
    stack: contextlib.AsyncExitStack,
    *,
    patience: float | None,
    paused: bool,
) -> None:
    background = _Background(stack)
    agents: list[Agent] = []
    warm = asyncio.Event()

    def on_change() -> None:
        if any(trainer.info is not None for trainer in trainers):
            warm.set()
        for agent in agents:
            agent.on_trainers_changed()

    # First of all: importing torch takes seconds, joining does not.
    trainers = [
        TrainerProcess(
            index,
            threads=settings.threads_per_slot,
            inputs=settings.data_dir / INPUTS,
            max_inputs=settings.max_inputs,
            on_change=on_change,
            max_memory=settings.max_memory_per_slot,
        )
        for index in range(settings.slots)
    ]
    for trainer in trainers:
        _ = background.start(trainer.run(), f"trainer {trainer.index}")

    identity = folder.identity() or folder.new_identity(paused=paused)
    if not identity.registered:
        joined = await _until(stop, register(settings, folder, identity, patience=patience))
        if joined is None:
            return
        identity = joined

    shutil.rmtree(settings.data_dir / WORK, ignore_errors=True)
    bandwidth = Bandwidth(settings.max_bandwidth)
    http = await stack.enter_async_context(open_http(read_ahead=PIECE if bandwidth.limited else SMALL))
    cache = ArtifactCache(
        settings.data_dir / CACHE,
        settings.max_downloads,
        lambda artifact, path, refresh: download(http, bandwidth, artifact, path, refresh),
    )
    agent = Agent(settings, identity, folder, trainers, cache, lambda: _touch_ready(settings))
    agent.performer = Performer(
        agent.session.exchange, cache, http, bandwidth, settings.data_dir / WORK, agent.on_step, agent.on_report
    )
    agents.append(agent)

    server = await control.serve(settings.data_dir, _Commands(agent, stop, leaving))
    stack.callback((settings.data_dir / control.SOCKET).unlink, missing_ok=True)
    stack.callback(server.close)
    _ = background.start(agent.doorbell.run(), "doorbell")
    if not device_is_plain() and await _until(stop, warm.wait()) is None:
        return
    session = background.start(_keep_session(settings, folder, agent, identity), "session")
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, session}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if session.done() and not session.cancelled():
        session.result()
    await agent.stop(settings.grace)


class _Background:
    """Tasks that end with the agent, the last one started first."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._report)
        self._stack.push_async_callback(self._end, task)
        return task

    @staticmethod
    def _report(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AgentError):
            structlog.get_logger(__name__).error("background task failed", task=task.get_name(), exc_info=error)

    @staticmethod
    async def _end(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Commands:
    """What may be asked over the agent's socket."""

    def __init__(self, agent: Agent, stop: asyncio.Event, leaving: asyncio.Event) -> None:
        self._agent, self._stop, self._leaving = agent, stop, leaving

    async def __call__(self, command: str) -> dict[str, Any]:
        match command:
            case "status":
                return self._agent.status()
            case "pause" | "resume":
                self._agent.set_paused(command == "pause")
                return self._agent.status()
            case "leave":
                self._leaving.set()
                self._stop.set()
                return self._agent.status()
            case _:
                return {"error": f"unknown command {command!r}"}


async def _keep_session(settings: WorkerSettings, folder: AgentFolder, agent: Agent, identity: Identity) -> None:
    """A session for ever; a token that is void is exchanged for a fresh one by the join token."""
    log = structlog.get_logger(__name__)
    refused = 0
    while True:
        try:
            await agent.session.run()
        except TokenVoid as error:
            refused += 1
            if settings.join_token is None or refused > 3:
                raise JoinRefused(
                    f"the coordinator does not know this worker ({error}): join again with --token, "
                    f"after `trainnet worker leave --data {settings.data_dir}`"
                ) from error
            log.warning("the worker's token is void, registering again", reason=str(error))
            known = folder.identity() or identity
            agent.become(await register(settings, folder, known, patience=None))


async def _until(stop: asyncio.Event, coroutine: Coroutine[Any, Any, T]) -> T | None:
    """The result, or None when `stop` came first."""
    task = asyncio.create_task(coroutine)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


def _touch_ready(settings: WorkerSettings) -> None:
    if settings.ready_file is not None and not settings.ready_file.exists():
        settings.ready_file.touch()
