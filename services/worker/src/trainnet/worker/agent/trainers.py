"""Warm trainer processes, one per slot: started before they are needed, restarted when they die."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from trainnet.v1.task_pb2 import TaskResult, TaskSpec
from trainnet.worker.agent import memory
from trainnet.worker.agent.backoff import Backoff
from trainnet.worker.errors import TaskDropped, TaskError
from trainnet.worker.protocol import (
    CANCELLED,
    Message,
    OutputFile,
    Step,
    decode,
    encode,
    parse_output,
    parse_progress,
    run_command,
)

_MAX_LINE = 4 * 1024 * 1024
_CANCEL_PATIENCE = 1.0
_HEALTHY_AFTER = 30.0


@dataclass(frozen=True)
class TrainerInfo:
    """What a warm trainer says of its machine."""

    device: str
    device_name: str
    torch_version: str


@dataclass(eq=False)
class _Run:
    id: int
    done: asyncio.Future[TaskResult]
    on_progress: Callable[[Step], None]
    on_output: Callable[[OutputFile], None]


class TrainerProcess:
    """One slot. `run` keeps a process alive; `execute` gives it one task at a time."""

    def __init__(
        self,
        index: int,
        *,
        threads: int,
        inputs: Path,
        max_inputs: int,
        on_change: Callable[[], None],
        max_memory: int | None = None,
    ) -> None:
        """`max_memory`: bytes beyond which the process is killed and its task failed.

        `inputs`: the folder for prepared inputs that the slots of a worker share, of at most `max_inputs` bytes.
        """
        self.index = index
        self.holder: int | None = None
        """Fence of the task that the slot is kept for."""
        self.info: TrainerInfo | None = None
        self._threads, self._max_memory = threads, max_memory
        self._inputs, self._max_inputs = inputs, max_inputs
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._warm = False
        self._run: _Run | None = None
        self._next_id = 1
        self._killed = False
        self._excess = ""
        self._log = structlog.get_logger(__name__).bind(slot=index)

    @property
    def warm(self) -> bool:
        """Whether its process is up and has loaded what it needs."""
        return self._warm

    @property
    def free(self) -> bool:
        """Warm, and kept for nobody."""
        return self._warm and self._run is None and self.holder is None

    @property
    def pid(self) -> int | None:
        """Process id while there is one."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keeps a process alive until cancelled."""
        backoff = Backoff(0.5, 30.0)
        while True:
            started = time.monotonic()
            death = await self._live()
            if self._killed:
                self._killed = False
                continue
            self._log.warning("trainer process ended, starting a new one", reason=death)
            if time.monotonic() - started > _HEALTHY_AFTER:
                backoff.reset()
            await backoff.pause()

    async def execute(
        self,
        spec: TaskSpec,
        inputs: Mapping[str, Path],
        out: Path,
        *,
        on_progress: Callable[[Step], None],
        on_output: Callable[[OutputFile], None],
    ) -> TaskResult:
        """Does one task. When cancelled, the process forgets it within a second or is replaced.

        Raises TaskError, also when the process dies; TaskDropped when it was cancelled otherwise.
        """
        process = self._process
        if process is None or process.stdin is None or not self._warm or self._run is not None:
            raise TaskError("WORKER", "the training process is not ready; it is being restarted")
        run = _Run(self._next_id, asyncio.get_running_loop().create_future(), on_progress, on_output)
        self._next_id += 1
        self._run = run
        try:
            process.stdin.write(run_command(run.id, spec, inputs, out))
            return await asyncio.shield(run.done)
        except asyncio.CancelledError:
            if not run.done.done():
                run.on_progress = run.on_output = _ignore
                if not process.stdin.is_closing():
                    process.stdin.write(encode({"type": "cancel", "id": run.id}))
                asyncio.get_running_loop().call_later(_CANCEL_PATIENCE, self._kill_if_running, run)
            raise
        finally:
            if run.done.done():
                self._finish(run)

    def _kill_if_running(self, run: _Run) -> None:
        if self._run is run and not run.done.done() and self._process is not None and self._process.returncode is None:
            self._killed = True
            self._process.kill()

    def _finish(self, run: _Run) -> None:
        if self._run is run:
            self._run = None
            self._on_change()

    async def _live(self) -> str:
        """One process, from its start to its end. Answers how it ended."""
        environment = {
            **os.environ,
            "TRAINNET_TRAINER_THREADS": str(self._threads),
            "TRAINNET_TRAINER_SLOT": str(self.index),
            "TRAINNET_TRAINER_INPUTS": str(self._inputs),
            "TRAINNET_TRAINER_MAX_INPUTS": str(self._max_inputs),
            "TRAINNET_TRAINER_PARENT": str(os.getpid()),
            "OMP_NUM_THREADS": str(self._threads),
            "MKL_NUM_THREADS": str(self._threads),
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("TRAINNET_JOIN_TOKEN", None)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "trainnet.worker.trainer",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_MAX_LINE,
                env=environment,
            )
        except OSError as error:  # no memory, or no process to be had, for now
            return f"it could not be started: {error.strerror}"
        self._process, self._excess = process, ""
        guard = asyncio.create_task(self._hold_to_limit(process))
        try:
            if process.stdout is not None:
                while line := await process.stdout.readline():
                    self._take(decode(line))
            code = await process.wait()
        except ValueError as error:
            self._log.error("trainer process spoke no protocol", error=str(error))
            code = -signal.SIGKILL
        finally:
            guard.cancel()
            self._warm = False
            if process.returncode is None:
                process.kill()
                await process.wait()
            if process.stdin is not None:
                process.stdin.close()
            self._process = None
            self._bury(self._excess or f"the training process died ({_describe(process.returncode or 0)})")
        return self._excess or _describe(code)

    async def _hold_to_limit(self, process: asyncio.subprocess.Process) -> None:
        """Kills a process that takes more memory than it may."""
        if self._max_memory is None:
            return
        taken = await memory.exceeded(process.pid, self._max_memory)
        if taken is not None and process.returncode is None:
            self._excess = (
                f"it took {taken / 1e9:.2f} GB of memory, more than the {self._max_memory / 1e9:.2f} GB that "
                "--max-memory leaves each slot of this worker; raise it, lower --slots, or train with smaller batches"
            )
            process.kill()

    def _bury(self, death: str) -> None:
        run = self._run
        if run is not None:
            if not run.done.done():
                run.done.set_exception(TaskError("WORKER", death))
                run.done.exception()  # retrieved: nobody waits for a run that was cancelled
            self._finish(run)
        self._on_change()

    def _take(self, message: Message) -> None:
        if message["type"] == "ready":
            self.info = TrainerInfo(message["device"], message["device_name"], message["torch"])
            self._warm = True
            self._on_change()
            return
        run = self._run
        if run is None or run.id != message["id"] or run.done.done():
            return
        match message["type"]:
            case "progress":
                run.on_progress(parse_progress(message))
            case "output":
                run.on_output(parse_output(message))
            case "result":
                run.done.set_result(TaskResult.FromString(base64.b64decode(message["result"])))
                self._finish(run)
            case "error":
                cancelled = message["reason"] == CANCELLED
                run.done.set_exception(
                    TaskDropped("cancelled") if cancelled else TaskError(message["reason"], message["message"])
                )
                run.done.exception()
                self._finish(run)


def _ignore(_message: object) -> None:
    """Nobody listens any more."""


def _describe(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, perhaps because the machine ran out of memory"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
