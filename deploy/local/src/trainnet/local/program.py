"""What the supervisor is told about a program that it keeps running."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from trainnet.local.ready import Readiness

# All that a child sees of the environment in which the stack was started.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    command: tuple[str, ...]
    readiness: Readiness
    cwd: Path
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    # Children that must be ready before this one starts, and that stop after it.
    after: tuple[str, ...] = ()
    # Seconds from its start until it has to be ready.
    start_within: float = 60.0
    # Seconds from SIGTERM until SIGKILL when the stack stops. The longest chain of `after` must stay below 10.
    stop_within: float = 2.5

    def environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(self.env)


@dataclasses.dataclass(frozen=True)
class RestartPolicy:
    """How long to wait before a dead child is started again: first, first * 2, … up to longest."""

    first: float = 0.2
    longest: float = 10.0
    # A child that was ready for this long starts over at `first`.
    healthy_after: float = 30.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many deaths in a row (1 for the first)."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
