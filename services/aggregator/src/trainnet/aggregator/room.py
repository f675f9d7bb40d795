"""Memory that work on large models shares: who comes first gets it first, the rest waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from trainnet.aggregator.errors import Cancelled

_LOOK_SECONDS = 0.1  # a wait notices that its claim was lost this soon


class Room:
    """`places` of memory; one holds the buffers of a check. Thread-safe.

    Checks and sums overlap where a round is summed while its updates still arrive. Without this the peak would be
    that of both, and depend on how many updates come how fast.
    """

    def __init__(self, places: int) -> None:
        self._free = self._places = places
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, places: int, cancel: threading.Event) -> Iterator[None]:
        """Waits until `places` (all, where it wants more than there are) are free and nobody came before. Raises
        Cancelled."""
        places = min(places, self._places)
        if places:
            self._enter(places, cancel)
        try:
            yield
        finally:
            if places:
                with self._changed:
                    self._free += places
                    self._changed.notify_all()

    def _enter(self, places: int, cancel: threading.Event) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or self._free < places:
                    if cancel.is_set():
                        raise Cancelled
                    self._changed.wait(_LOOK_SECONDS)
                self._free -= places
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
