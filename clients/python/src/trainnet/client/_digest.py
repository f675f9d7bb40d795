"""Digests of files as the contract writes them: of the whole, or of the parts they were uploaded in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainnet.client._errors import InvalidFile

PART_BYTES = 64 * 1024 * 1024
"""Files above this are uploaded in parts of this size; the last one may be shorter."""

CHUNK_BYTES = 1024 * 1024

Advance = Callable[[int], None]
"""Told the number of bytes done so far."""


class Hasher:
    """SHA-256 of a stream, of the whole and of each part of `part_bytes`, in one pass."""

    def __init__(self, part_bytes: int = PART_BYTES, *, composite: bool = True) -> None:
        self._whole = hashlib.sha256()
        self._part_bytes = part_bytes
        self._composite = composite
        self._parts: list[bytes] = []
        self._part = hashlib.sha256()
        self._in_part = 0

    def update(self, data: bytes | memoryview) -> None:
        """Takes the next bytes."""
        self._whole.update(data)
        if not self._composite:
            return
        view = memoryview(data)
        while len(view):
            taken = view[: self._part_bytes - self._in_part]
            self._part.update(taken)
            self._in_part += len(taken)
            view = view[len(taken) :]
            if self._in_part == self._part_bytes:
                self._close_part()

    def _close_part(self) -> None:
        self._parts.append(self._part.digest())
        self._part = hashlib.sha256()
        self._in_part = 0

    def sha256(self) -> str:
        """SHA-256 of the whole in hex."""
        return self._whole.hexdigest()

    def parts(self) -> tuple[bytes, ...]:
        """SHA-256 of each part begun so far, in order; one of nothing for nothing."""
        return (*self._parts, self._part.digest()) if self._in_part or not self._parts else tuple(self._parts)

    def digest(self, *, composite: bool) -> str:
        """`sha256:<hex>`, or `sha256-parts:<hex>/<n>`."""
        if not composite:
            return f"sha256:{self.sha256()}"
        parts = self.parts()
        return f"sha256-parts:{hashlib.sha256(b''.join(parts)).hexdigest()}/{len(parts)}"


@dataclass(frozen=True)
class FileDigests:
    """A file's length and the SHA-256 of each of its parts."""

    size: int
    parts: tuple[bytes, ...]


def file_digests(path: Path, advance: Advance | None = None) -> FileDigests:
    """Reads the file once. Raises InvalidFile when it cannot be read."""
    try:
        return _file_digests(path, advance)
    except OSError as error:
        raise InvalidFile(str(path), f"cannot be read: {error.strerror or error}", hint="check the file") from None


def _file_digests(path: Path, advance: Advance | None) -> FileDigests:
    parts: list[bytes] = []
    size = 0
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while True:
            part, left = hashlib.sha256(), PART_BYTES
            while left and (count := file.readinto(buffer[: min(left, CHUNK_BYTES)])):
                part.update(buffer[:count])
                left -= count
                size += count
                if advance:
                    advance(size)
            if left < PART_BYTES or not parts:
                parts.append(part.digest())
            if left:
                return FileDigests(size, tuple(parts))
