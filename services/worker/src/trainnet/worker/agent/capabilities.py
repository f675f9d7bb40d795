"""What this machine can do, told without importing torch."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainnet.v1.worker_pb2 import Capabilities
from trainnet.worker.agent.trainers import TrainerInfo
from trainnet.worker.protocol import ARCHITECTURES
from trainnet.worker.settings import WorkerSettings


def agent_version() -> str:
    """Version of the agent."""
    return _version("trainnet-worker")


def device_is_plain() -> bool:
    """Whether it is certain without a warm trainer that the device is the processor."""
    return "+cpu" in _version("torch")


def capabilities(settings: WorkerSettings, info: TrainerInfo | None) -> Capabilities:
    """What goes into hello; `info` is what the first warm trainer said."""
    return Capabilities(
        slots=settings.slots,
        device=info.device if info else "cpu",
        threads=settings.threads_per_slot,
        memory_bytes=min(filter(None, (_memory_bytes(), settings.max_memory)), default=0),
        torch_version=info.torch_version if info else _version("torch"),
        device_name=((info.device_name if info else "") or _processor())[:200],
        architectures=ARCHITECTURES,
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
