"""The owner's limit on what the agent's transfers may send and receive together."""

from __future__ import annotations

import asyncio
import time

PIECE = 64 * 1024
"""Bytes that a limited transfer moves at a time, so that transfers share the line evenly."""

_BURST_SECONDS = 0.25


class Bandwidth:
    """A token bucket over all downloads and uploads; without a rate it never waits.

    Every piece books its time on the line behind those that were booked before, so transfers take turns. What was not
    used for a while is lost but for a quarter of a second. Control messages do not pass here.
    """

    def __init__(self, bytes_per_s: int | None = None) -> None:
        self._rate = bytes_per_s
        self._free_at = 0.0

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._rate is not None

    def book(self, size: int) -> float:
        """Seconds until `size` bytes may pass."""
        if self._rate is None:
            return 0.0
        now = time.monotonic()
        self._free_at = max(self._free_at, now - _BURST_SECONDS) + size / self._rate
        return max(0.0, self._free_at - now)

    async def take(self, size: int) -> None:
        """Returns once `size` bytes may pass."""
        wait = self.book(size)
        if wait:
            await asyncio.sleep(wait)
