"""One stack per data folder."""

import fcntl
import os
import time
from pathlib import Path

from trainnet.local.errors import DataFolderInUse

ENDS_WITHIN = 6.0


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class DataLock:
    """Held while a stack runs. The kernel releases it when the last process that inherited `descriptor` is gone."""

    def __init__(self, data_dir: Path) -> None:
        self.descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + ENDS_WITHIN
        while not self._acquire():
            holder = self._holder()
            # A stack that was killed has left its guard, which lets go as soon as it has killed the children.
            if holder is None or exists(holder) or time.monotonic() > deadline:
                os.close(self.descriptor)
                raise DataFolderInUse(data_dir, holder)
            time.sleep(0.02)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def _acquire(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> int | None:
        text = os.pread(self.descriptor, 32, 0).decode("ascii", errors="replace").strip()
        return int(text) if text.isdigit() else None

    def release(self) -> None:
        os.close(self.descriptor)
