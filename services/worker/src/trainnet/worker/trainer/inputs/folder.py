"""The folder of prepared inputs that the processes of a worker share: what it may hold, and who holds what.

Entries are folders by key. One that is being made has a name of its own beginning with `.new-` and a sparse file
whose length says how much it may grow to; its maker holds a lock on that file, so what a crash left behind is told
from what is still growing. All locks go with their process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trainnet.worker.errors import TaskError

META = "meta.json"
"""The file of an entry that its users hold."""
_NEW = ".new-"
_RESERVED = "reserved"
_STEP = 16 << 20
"""Bytes that are reserved at a time."""


def hold(path: Path) -> BinaryIO:
    """Opens a file of an entry; the entry is not removed until it is closed. Raises FileNotFoundError."""
    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    # Between opening and locking, another process may have removed it.
    if os.fstat(file.fileno()).st_nlink == 0:
        file.close()
        raise FileNotFoundError(path)
    return file


class Growing:
    """An entry that is being made."""

    def __init__(self, folder: InputFolder, path: Path, reserved: BinaryIO) -> None:
        self.path = path
        self._folder, self._file = folder, reserved
        self._reserved = self._used = 0

    def reserve(self, size: int) -> None:
        """Makes room for `size` more bytes. Raises TaskError when the folder cannot hold them."""
        self._used += size
        if self._used > self._reserved:
            grown = -(-self._used // _STEP) * _STEP
            most = self._folder.make_room(self._used - self._reserved, self.path.name, grown - self._used)
            self._reserved = self._used + most
            self._file.truncate(self._reserved)

    def finish(self, key: str) -> None:
        """Gives it its name; another process may have been first, whose entry is as good."""
        with self._folder.locked():
            if not (self._folder.path / key).exists():
                (self.path / _RESERVED).unlink()
                self.path.rename(self._folder.path / key)


class InputFolder:
    """Bounded in bytes; what was used longest ago goes first."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def growing(self) -> Iterator[Growing]:
        """A new entry; gone at the end unless it was finished."""
        with self.locked():
            path = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.path))
            reserved = (path / _RESERVED).open("wb")
            fcntl.flock(reserved, fcntl.LOCK_EX)
        try:
            with reserved:
                yield Growing(self, path, reserved)
        finally:
            # Not while another process looks through the folder.
            with self.locked():
                shutil.rmtree(path, ignore_errors=True)

    def make_room(self, needed: int, growing: str, wanted: int) -> int:
        """Removes what is in the way of `needed` bytes; answers how many of the `wanted` ones fit beside them.

        Raises TaskError.
        """
        with self.locked():
            entries = sorted((entry.stat().st_mtime_ns, entry) for entry in self.path.iterdir() if entry.is_dir())
            used = sum(_size(entry) for _, entry in entries)
            for _, entry in entries:
                if used + needed <= self._max_bytes:
                    break
                if entry.name != growing:
                    size = _size(entry)
                    used -= size if _remove_unused(entry) else 0
            if used + needed > self._max_bytes:
                raise TaskError(
                    "WORKER",
                    f"the prepared inputs of the shard take more than the {self._max_bytes / 1e9:.2f} GB that this "
                    "worker keeps for them, half of --max-disk: raise it, or cut the data set into more shards",
                )
            return min(wanted, self._max_bytes - used - needed)

    def remove(self, key: str) -> None:
        """Removes a damaged entry, unless somebody uses it."""
        with self.locked():
            _remove_unused(self.path / key)

    def touch(self, key: str) -> None:
        """Marks an entry as used now."""
        now = time.time_ns()  # the system's own stamps are milliseconds apart
        os.utime(self.path / key, ns=(now, now))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes that keep inputs here."""
        with (self.path / ".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _size(entry: Path) -> int:
    """What an entry takes, or may grow to."""
    try:
        return (entry / _RESERVED).stat().st_size
    except FileNotFoundError:
        return sum(file.stat().st_size for file in entry.iterdir())


def _remove_unused(entry: Path) -> bool:
    """Under the folder's lock. Answers whether it is gone."""
    try:
        guard = (entry / (_RESERVED if entry.name.startswith(_NEW) else META)).open("rb")
    except FileNotFoundError:  # what a crash left
        _remove(entry)
        return True
    with guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _remove(entry)
        return True


def _remove(entry: Path) -> None:
    # Out of its name first, so that nobody finds half of it.
    gone = entry if entry.name.startswith(_NEW) else entry.with_name(f"{_NEW}gone-{entry.name}")
    entry.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
