"""What a process takes of the machine's memory."""

from __future__ import annotations

import asyncio

import psutil

_INTERVAL = 0.1


async def exceeded(pid: int, limit: int) -> int | None:
    """Returns once the process holds more than `limit` bytes of its own, with how many; None once it has ended.

    Pages of files do not count where the system tells them apart: it takes those of mapped inputs back when it needs
    them.

    Looks ten times a second: limits that the system enforces by itself count address space, of which PyTorch reserves
    far more than it uses, and end in errors that name no limit.
    """
    try:
        process = psutil.Process(pid)
        while True:
            held = process.memory_info()
            taken = int(held.rss - getattr(held, "shared", 0))
            if taken > limit:
                return taken
            await asyncio.sleep(_INTERVAL)
    except psutil.NoSuchProcess:
        return None
