"""What an agent keeps on disk beside its cache: who it is, what it contributed, and the lock on its folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainnet.worker.errors import AgentError, AlreadyRunning

IDENTITY = "worker.json"
CONTRIBUTION = "contribution.json"
CACHE = "cache"
INPUTS = "inputs"
WORK = "work"
_LOCK = "agent.lock"


@dataclass(frozen=True)
class Identity:
    """Who this worker is. `worker` and `token` are empty until it has registered."""

    request_id: str
    coordinator: str = ""
    worker: str = ""
    token: str = field(default="", repr=False)
    pool: int = 0
    paused: bool = False

    @property
    def registered(self) -> bool:
        """Whether the coordinator knows it."""
        return bool(self.worker and self.token)


@dataclass
class Contribution:
    """What the coordinator accepted from this worker."""

    updates: int = 0
    examples: int = 0


class AgentFolder:
    """The data directory, private to its owner and to one agent at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise AgentError(f"cannot use the data directory {path}: {error.strerror}; choose another") from error

    def lock(self) -> None:
        """Raises AlreadyRunning while another agent holds it. The lock goes with the process."""
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(f"a worker already runs with {self.path}; choose another data directory") from None

    def unlock(self) -> None:
        """Lets another agent in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def identity(self) -> Identity | None:
        """The kept identity. Raises AgentError when the file is damaged."""
        path = self.path / IDENTITY
        try:
            found = json.loads(path.read_bytes())
            return Identity(**{key: value for key, value in found.items() if key in Identity.__dataclass_fields__})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise AgentError(f"{path} cannot be read ({error}); remove it to join anew") from error

    def new_identity(self, *, paused: bool = False) -> Identity:
        """Chooses a request id and keeps it before anybody hears of it: a repeat then is the same worker."""
        identity = Identity(request_id=uuid.uuid4().hex, paused=paused)
        self.save_identity(identity)
        return identity

    def save_identity(self, identity: Identity) -> None:
        """Atomic and durable; the token is readable for its owner only."""
        self._write(IDENTITY, asdict(identity))

    def save_paused(self, identity: Identity, *, paused: bool) -> Identity:
        """Pausing outlasts a restart."""
        changed = replace(identity, paused=paused)
        self.save_identity(changed)
        return changed

    def contribution(self) -> Contribution:
        """What was accepted so far; starts anew when the file is damaged."""
        try:
            found = json.loads((self.path / CONTRIBUTION).read_bytes())
            return Contribution(int(found["updates"]), int(found["examples"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Contribution()

    def save_contribution(self, contribution: Contribution) -> None:
        """Atomic."""
        self._write(CONTRIBUTION, asdict(contribution), durable=False)

    def inputs_bytes(self) -> int:
        """What the trainers' prepared inputs take."""
        taken = 0
        # They come and go under our eyes; `walk` passes over folders that are gone.
        for folder, _, names in os.walk(self.path / INPUTS):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    taken += 512 * Path(folder, name).stat().st_blocks
        return taken

    def wipe(self) -> None:
        """Removes identity, cache and everything else of the worker."""
        for name in (CACHE, INPUTS, WORK):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (IDENTITY, CONTRIBUTION):
            (self.path / name).unlink(missing_ok=True)

    def _write(self, name: str, value: dict[str, Any], *, durable: bool = True) -> None:
        temporary = self.path / f".{name}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file, indent=2)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(self.path / name)
