"""The `trainnet` command as its users start it: a process of its own, in a home of its own."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainnet.local.executables import find

SECONDS = 120


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, f"exit code {self.code}: {self.err}"
        return json.loads(self.out)

    def complaint(self, code: int, *words: str) -> str:
        """The one line that a person gets for what they did wrong. It holds all `words`, and nothing else was said."""
        assert self.code == code, f"exit code {self.code}, not {code}: {self.out}{self.err}"
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, f"not one line: {self.err!r}"
        assert "Traceback" not in self.err + self.out
        assert not self.out.strip(), f"a failed command prints no result: {self.out!r}"
        missing = [word for word in words if word not in lines[0]]
        assert not missing, f"{missing} not in {lines[0]!r}"
        return lines[0]


class Command:
    """Runs commands against the stack of a data folder, which they find by its endpoints.json."""

    def __init__(self, data_dir: Path, home: Path) -> None:
        self._env = {"PATH": os.environ["PATH"], "HOME": str(home), "TRAINNET_DATA": str(data_dir), "COLUMNS": "200"}
        self._program = find("trainnet", package="trainnet[cli]")
        self._home = home

    def __call__(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [self._program, *map(str, arguments)],
            env={**self._env, **(env or {})},
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)
