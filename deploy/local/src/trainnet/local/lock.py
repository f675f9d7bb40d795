"""One stack per data folder."""

import fcntl
import os
from pathlib import Path

from trainnet.local.errors import DataFolderInUse


class DataLock:
    """Held while a stack runs. The kernel releases it when the last process that inherited `descriptor` is gone."""

    def __init__(self, data_dir: Path) -> None:
        self.descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self.descriptor, 32, 0).decode("ascii", errors="replace").strip()
            os.close(self.descriptor)
            raise DataFolderInUse(data_dir, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        os.close(self.descriptor)
