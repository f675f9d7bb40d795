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
from trainnet.worker.trainer.cache import RowsCache
from trainnet.worker.trainer.context import Cancelled, TaskContext
from trainnet.worker.trainer.tasks import run_task


class Trainer:
    """Runs tasks one after the other; remembers decoded shards between them."""

    def __init__(self, send: Callable[[Message], None], device: torch.device) -> None:
        self._send = send
        self._device = device
        self._rows = RowsCache()
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
            result = run_task(spec, context, self._rows, self._device)
        except Cancelled:
            self._fail(run_id, CANCELLED, "cancelled")
        except TaskError as error:
            self._fail(run_id, error.reason, error.message)
        except (MemoryError, torch.OutOfMemoryError):
            self._fail(run_id, "WORKER", "out of memory: the task needs more than this machine has free")
        except OSError as error:
            self._log.exception("task failed")
            self._fail(run_id, "WORKER", f"the disk failed: {error.strerror or error} ({error.filename})")
        except Exception as error:  # noqa: BLE001  # whatever it was, the agent must hear of it
            self._log.exception("task failed")
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


def set_up_torch(threads: int) -> torch.device:
    """Same input, same bytes: deterministic kernels only, a fixed number of threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # can be set once in a process
        torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def serve(source: BinaryIO, sink: BinaryIO, threads: int) -> None:
    """Serves until the agent closes `source`."""
    commands = _Commands(source)
    commands.start()
    device = set_up_torch(threads)

    def send(message: Message) -> None:
        try:
            sink.write(encode(message))
            sink.flush()
        except BrokenPipeError:
            os._exit(0)

    trainer = Trainer(send, device)
    send({"type": "ready", "device": device.type, "device_name": device_name(device), "torch": torch.__version__})
    while True:
        command = commands.runs.get()
        trainer.run(command, lambda run_id=command["id"]: commands.is_cancelled(run_id))  # type: ignore[misc]
        commands.forget(command["id"])


def device_name(device: torch.device) -> str:
    """Name of the accelerator; empty for the processor, which the agent names."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def main() -> None:
    """Entry point: commands on standard input, answers on standard output, logs on standard error."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 16)
    # A library that prints must not get between our lines.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, sink, int(os.environ.get("TRAINNET_TRAINER_THREADS", "1")))
