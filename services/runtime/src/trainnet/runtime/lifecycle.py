"""The life of a service process: event loop, signals, exit codes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from trainnet.runtime.settings import SettingsError

EXIT_FAILED = 1
EXIT_SETTINGS = 2


class StartupError(Exception):
    """The service cannot start; the message says why and what to do, and needs no traceback."""


def run(main: Callable[[asyncio.Event], Awaitable[None]], *, service: str) -> int:
    """Runs `main(stop)` to its end and returns the exit code of the process.

    The first SIGTERM or SIGINT sets `stop`: main drains and returns, the code is 0. A second signal ends the process
    at once with 128 + signal. SettingsError is printed as clear lines (code 2), StartupError too (code 1); any other
    error is logged with its traceback (code 1).
    """
    # What was imported lives as long as the process, and most of what a call makes dies by its reference count: looking
    # through all of it every 700 objects is time taken from the calls.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_guarded(main, service))
    except KeyboardInterrupt:  # before the handlers stood
        return 128 + signal.SIGINT


async def _guarded(main: Callable[[asyncio.Event], Awaitable[None]], service: str) -> int:
    log = structlog.get_logger(__name__)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("second signal, exiting at once", signal=number.name)
            os._exit(128 + number)
        log.info("stopping", signal=number.name)
        stop.set()

    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await main(stop)
    except SettingsError as error:
        for line in error.problems:
            print(f"{service}: {line}", file=sys.stderr)
        return EXIT_SETTINGS
    except StartupError as error:
        print(f"{service}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except Exception:
        log.exception("service failed")
        return EXIT_FAILED
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def supervised(tg: asyncio.TaskGroup, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Starts a background loop in the group. Its failure is logged under its name before the group ends the service:
    a loop that died silently is worse than a restart."""

    async def watched() -> None:
        try:
            await coro
        except Exception:
            structlog.get_logger(__name__).exception("background task failed", task=name)
            raise

    return tg.create_task(watched(), name=name)


async def wait_or_stop(stop: asyncio.Event, seconds: float) -> bool:
    """Sleeps; True as soon as `stop` is set, False when the time has passed."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True
