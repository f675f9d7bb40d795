"""Files that tasks write, with the digests that their uploads declare."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Self

from trainnet.runtime.digest import file_digests
from trainnet.worker.protocol import PART_SIZE, OutputFile


class HashedFile:
    """Writes a file and computes its parts' SHA-256 on the way, so that 5 GB are read once less."""

    def __init__(self, output: str, path: Path, part_size: int = PART_SIZE) -> None:
        self._output, self._path, self._part_size = output, path, part_size
        self._file = path.open("wb", buffering=0)
        self._size = 0
        self._parts: list[bytes] = []
        self._hash = hashlib.sha256()
        self._left = part_size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Appends."""
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        self._size += len(view)
        while len(view) > 0:
            if self._left == 0:
                self._parts.append(self._hash.digest())
                self._hash, self._left = hashlib.sha256(), self._part_size
            piece = view[: self._left]
            self._hash.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]

    def finish(self) -> OutputFile:
        """Closes the file and says what it holds."""
        self._file.close()
        return OutputFile(self._output, self._path, self._size, (*self._parts, self._hash.digest()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def finished_file(output: str, path: Path) -> OutputFile:
    """Hashes a file that somebody else wrote."""
    digests = file_digests(path, PART_SIZE)
    return OutputFile(output, path, digests.size, digests.parts)
