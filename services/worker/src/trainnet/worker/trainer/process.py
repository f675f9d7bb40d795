"""The loop of a trainer process: commands in, answers out."""

from __future__ import annotations

import base64
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import structlog
import torch

from trainnet.v1.task_pb2 import TaskSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.protocol import (
    CANCELLED,
    Message,
    decode,
    encode,
    output_message,
    progress_message,
)
from trainnet.worker.trainer.context import Cancelled, TaskContext
from trainnet.worker.trainer.devices import device_name, is_out_of_memory, set_up_torch
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.tasks import run_task
from trainnet.worker.trainer.workbench import Workbench


class Trainer:
    """Runs tasks one after the other."""

    def __init__(self, send: Callable[[Message], None], workbench: Workbench) -> None:
        self._send, self._workbench = send, workbench
        self._log = structlog.get_logger(__name__)

    def run(self, command: Message, cancelled: Callable[[], bool]) -> None:
        """Answers a `run` command with exactly one `result` or `error`."""
        run_id = command["id"]
        started = time.perf_counter()
        context = TaskContext(
            {name: Path(path) for name, path in command["inputs"].items()},
            Path(command["out"]),
            on_progress=lambda step: self._send(progress_message(run_id, step)),
            on_output=lambda output: self._send(output_message(run_id, output)),
            cancelled=cancelled,
        )
        try:
            spec = TaskSpec.FromString(base64.b64decode(command["spec"]))
            result = run_task(spec, context, self._workbench)
        except Cancelled:
            self._fail(run_id, CANCELLED, "cancelled")
        except TaskError as error:
            self._fail(run_id, error.reason, error.message)
        except OSError as error:
            self._log.exception("task failed")
            self._fail(run_id, "WORKER", f"the disk failed: {error.strerror or error} ({error.filename})")
        except Exception as error:  # noqa: BLE001  # whatever it was, the agent must hear of it
            self._log.exception("task failed")
            if is_out_of_memory(error):
                self._fail(run_id, "WORKER", "out of memory: the task needs more than this machine has free")
                return
            self._fail(run_id, "WORKER", f"unexpected {type(error).__name__}: {str(error)[:500]}")
        else:
            self._send(
                {
                    "type": "result",
                    "id": run_id,
                    "result": base64.b64encode(result.SerializeToString()).decode(),
                    "seconds": time.perf_counter() - started,
                }
            )

    def _fail(self, run_id: int, reason: str, message: str) -> None:
        self._send({"type": "error", "id": run_id, "reason": reason, "message": message})


class _Commands:
    """Reads commands in a thread of its own, so that a cancel or the agent's death is heard during a task."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.runs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled: set[int] = set()

    def start(self) -> None:
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def is_cancelled(self, run_id: int) -> bool:
        return run_id in self._cancelled

    def forget(self, run_id: int) -> None:
        self._cancelled.discard(run_id)

    def _read(self) -> None:
        for line in self._source:
            message = decode(line)
            if message["type"] == "run":
                self.runs.put(message)
            elif message["type"] == "cancel":
                self._cancelled.add(message["id"])
        # The agent is gone; nobody wants a result, and a training may be under way in another thread.
        os._exit(0)


def serve(source: BinaryIO, sink: BinaryIO, device: torch.device, inputs: InputStore) -> None:
    """Serves until the agent closes `source`."""
    commands = _Commands(source)
    commands.start()

    def send(message: Message) -> None:
        try:
            sink.write(encode(message))
            sink.flush()
        except BrokenPipeError:
            os._exit(0)

    trainer = Trainer(send, Workbench(device, inputs))
    send({"type": "ready", "device": device.type, "device_name": device_name(device), "torch": torch.__version__})
    while True:
        command = commands.runs.get()
        trainer.run(command, lambda run_id=command["id"]: commands.is_cancelled(run_id))  # type: ignore[misc]
        commands.forget(command["id"])


def main() -> None:
    """Entry point: commands on standard input, answers on standard output, logs on standard error."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 16)
    # A library that prints must not get between our lines.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    device = set_up_torch(int(os.environ["TRAINNET_TRAINER_THREADS"]), int(os.environ["TRAINNET_TRAINER_SLOT"]))
    inputs = InputStore(Path(os.environ["TRAINNET_TRAINER_INPUTS"]), int(os.environ["TRAINNET_TRAINER_MAX_INPUTS"]))
    serve(sys.stdin.buffer, sink, device, inputs)
