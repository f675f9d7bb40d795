"""What a stack says to the person at the terminal, for tests to wait for."""

import threading
from collections.abc import Callable


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._changed:
            self.said.append(line)
            self._changed.notify_all()

    def wait_for(self, wanted: Callable[[str], bool], timeout: float = 20.0) -> str:
        with self._changed:
            found = self._changed.wait_for(lambda: next(filter(wanted, self.said), None), timeout)
        assert found, f"nobody said so, only {self.said}"
        return found
