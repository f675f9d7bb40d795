"""Settings of the worker agent, from `TRAINNET_*` or the options of `trainnet worker join`."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from trainnet.runtime.settings import HostPort, LogSettings

_SIZE = re.compile(r"(?i)\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*")
_RATE = re.compile(r"(?i)(.+?)(bit)?\s*(?:/s)?\s*")
_GPUS = Path("/proc/driver/nvidia/gpus")
_MEMORY_PER_SLOT = 10**9
"""Bytes below which no trainer process fits: PyTorch alone takes about half of it."""


def default_data_dir() -> Path:
    """Where a volunteer's agent keeps its identity and cache."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "trainnet" / "worker"


def parse_size(value: object) -> object:
    """`10GB`, `500 MB`, `8GiB` or plain bytes."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is no size")
        return int(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))
    return value


def parse_rate(value: object) -> object:
    """`2MB/s`, `10M`, `16Mbit/s` or plain bytes a second. A `b` is a byte in either case, a bit is written out."""
    if isinstance(value, str):
        found = _RATE.fullmatch(value)
        size = parse_size(found[1]) if found is not None and _SIZE.fullmatch(found[1]) else None
        if found is None or not isinstance(size, int):
            raise ValueError(f"{value!r} is no rate")
        return size // 8 if found[2] else size
    return value


class WorkerSettings(LogSettings):
    """One frozen object; see each field's description."""

    coordinator: HostPort = Field(description="the host:port of the coordinator")
    join_token: SecretStr | None = Field(
        default=None, description="the join token that the operator gave you", min_length=1, max_length=512
    )
    name: str = Field(
        default_factory=lambda: socket.gethostname() or "worker",
        description="what people call this machine, at most 100 characters",
        min_length=1,
        max_length=100,
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="a folder for the identity and the cache")
    slots: int = Field(
        default_factory=lambda: max(1, visible_gpus()),
        ge=1,
        le=1024,
        description="how many tasks to work on at the same time; one for each GPU, or one",
    )
    threads: int = Field(default=0, ge=0, le=1024, description="threads of each slot; 0 shares the cores evenly")
    max_memory: Annotated[int | None, BeforeValidator(parse_size)] = Field(
        default=None,
        description="the most memory that training may take, all slots together, like 8GB: at least 1GB a slot",
    )
    max_disk: Annotated[int, BeforeValidator(parse_size)] = Field(
        default=10 * 10**9,
        ge=10**6,
        description="the most that the cache may take, like 10GB: half for downloads, half for inputs made of them",
    )
    max_bandwidth: Annotated[int | None, BeforeValidator(parse_rate)] = Field(
        default=None,
        ge=10_000,
        description="the most that downloads and uploads may take together, like 2MB/s or 16Mbit/s: at least 10kB/s",
    )
    ready_file: Path | None = Field(
        default=None, description="a file to create once the coordinator welcomed the worker"
    )
    grace: float = Field(default=5.0, ge=0, le=3600, description="seconds to finish tasks in when asked to stop")

    @field_validator("max_memory")
    @classmethod
    def _enough_for_the_slots(cls, value: int | None, info: ValidationInfo) -> int | None:
        slots = info.data.get("slots", 1)
        if value is not None and value < slots * _MEMORY_PER_SLOT:
            raise ValueError(f"{value / 1e9:.3g} GB is too little for {slots} slot" + ("" if slots == 1 else "s"))
        return value

    @field_validator("data_dir", "ready_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @property
    def threads_per_slot(self) -> int:
        """Threads of each slot, never less than one."""
        return self.threads or max(1, usable_cores() // self.slots)

    @property
    def max_inputs(self) -> int:
        """Bytes that prepared inputs may take."""
        return self.max_disk // 2

    @property
    def max_downloads(self) -> int:
        """Bytes that downloaded artifacts may take."""
        return self.max_disk - self.max_inputs

    @property
    def max_memory_per_slot(self) -> int | None:
        """Bytes that each slot's process may take; None without a limit."""
        return self.max_memory // self.slots if self.max_memory is not None else None


def visible_gpus() -> int:
    """NVIDIA GPUs that this process may use, told without importing torch; each slot's trainer takes one of them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return sum(bool(item.strip()) and item.strip() != "-1" for item in chosen.split(","))
    return len(list(_GPUS.iterdir())) if _GPUS.is_dir() else 0


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
