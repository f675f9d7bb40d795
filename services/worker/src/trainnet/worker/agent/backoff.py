"""Pauses between attempts: full jitter, so that a crowd that lost the same server does not return in step."""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """Each pause is uniform between 0 and a bound that doubles from `first` up to `most` seconds."""

    def __init__(self, first: float = 0.1, most: float = 5.0) -> None:
        self._first, self._most = first, most
        self._bound = first

    def reset(self) -> None:
        """After a success."""
        self._bound = self._first

    async def pause(self) -> None:
        """Sleeps, and doubles the bound."""
        pause = random.uniform(0, self._bound)
        self._bound = min(self._most, self._bound * 2)
        await asyncio.sleep(pause)
