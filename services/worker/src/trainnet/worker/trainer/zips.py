"""Opening a stranger's zip: what it says it holds is counted before it fills the memory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from trainnet.worker.errors import TaskError

_ENTRY = b"PK\1\2"
"""What every entry of a zip's directory begins with."""
_ENTRY_BYTES = 300
"""Of the directory, for an entry with a long name."""


class BoundedZip(zipfile.ZipFile):
    """A zip that is read. Raises TaskError with `refusal` where it has more than `most` entries, or with far too long
    names: its own word on how many they are counts for nothing."""

    def __init__(self, path: Path, most: int, refusal: str) -> None:
        self._bounded = _BoundedFile(path, most, refusal)
        try:
            super().__init__(self._bounded)
        except BaseException:
            self._bounded.close()
            raise
        self._bounded.free()

    def close(self) -> None:
        """Closes the file too."""
        super().close()
        self._bounded.close()


class _BoundedFile(io.FileIO):
    def __init__(self, path: Path, most: int, refusal: str) -> None:
        super().__init__(path, "rb")
        self._most: int | None = most
        self._refusal = refusal

    def free(self) -> None:
        """The directory is read."""
        self._most = None

    def read(self, size: int | None = -1, /) -> bytes:
        """As it is, or TaskError."""
        size = -1 if size is None else size
        if self._most is not None and size > self._most * _ENTRY_BYTES:
            raise TaskError("TASK", self._refusal)
        data = super().read(size) or b""
        if self._most is not None and data.count(_ENTRY) > self._most:
            raise TaskError("TASK", self._refusal)
        return data
