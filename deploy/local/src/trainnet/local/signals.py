"""Ctrl-C, SIGTERM and a closed terminal stop a stack in order; a second one does not wait."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from trainnet.local.stack import LocalStack

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered, the first signal raises KeyboardInterrupt in the main thread, the next ones kill all children.

    with StopSignals(stack), stack: ...
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._raised = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in CAUGHT:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raised or self._stack.stopping:
            # In a thread: this handler may have interrupted the owner of a lock that kill_all needs.
            threading.Thread(target=self._stack.kill_all, daemon=True).start()
            return
        self._raised = True
        raise KeyboardInterrupt
