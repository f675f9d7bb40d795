"""Digests of objects as text.

`sha256:<64 hex>` is the SHA-256 of the bytes. `sha256-parts:<64 hex>/<n>` is what S3 calls a composite checksum: the
SHA-256 of the concatenated binary SHA-256 of n parts. It depends on where the parts were cut, so two writers agree on
it only with the same part size.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FORM = re.compile(r"sha256:(?P<whole>[0-9a-f]{64})|sha256-parts:(?P<parts>[0-9a-f]{64})/(?P<count>[1-9][0-9]{0,4})")
_READ = 1024 * 1024

MAX_PARTS = 10_000
"""S3's limit."""


@dataclass(frozen=True)
class Digest:
    """A parsed digest; `parts` is None for a whole object."""

    sha256: bytes
    parts: int | None = None

    def __str__(self) -> str:
        if self.parts is None:
            return f"sha256:{self.sha256.hex()}"
        return f"sha256-parts:{self.sha256.hex()}/{self.parts}"


def parse(text: str) -> Digest:
    """Raises ValueError unless `text` is exactly one of the two forms."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("expected sha256:<64 hex> or sha256-parts:<64 hex>/<parts>")
    if found["whole"] is not None:
        return Digest(bytes.fromhex(found["whole"]))
    if int(found["count"]) > MAX_PARTS:
        raise ValueError(f"more than {MAX_PARTS} parts")
    return Digest(bytes.fromhex(found["parts"]), int(found["count"]))


def of_bytes(data: bytes | bytearray | memoryview) -> str:
    """The digest of a whole object."""
    return str(Digest(hashlib.sha256(data).digest()))


def composite(part_digests: Sequence[bytes]) -> str:
    """The digest of an object uploaded in parts, from the 32-byte digests of its parts in order."""
    if not part_digests:
        raise ValueError("an object has at least one part")
    if any(len(part) != 32 for part in part_digests):
        raise ValueError("a part's digest has 32 bytes")
    return str(Digest(hashlib.sha256(b"".join(part_digests)).digest(), len(part_digests)))


def from_s3(checksum: str | None) -> str | None:
    """The digest for an `x-amz-checksum-sha256` header: base64, with `-<parts>` behind a composite."""
    if not checksum:
        return None
    encoded, _, parts = checksum.partition("-")
    return str(Digest(base64.b64decode(encoded), int(parts) if parts else None))


def to_s3(sha256: bytes) -> str:
    """The `x-amz-checksum-sha256` of 32 digest bytes."""
    return base64.b64encode(sha256).decode()


@dataclass(frozen=True)
class FileDigests:
    """A file's size, the 32-byte digests of its parts, and the digest its object will have."""

    size: int
    parts: tuple[bytes, ...]
    digest: str


def file_digests(path: str | Path, part_size: int) -> FileDigests:
    """Hashes a file in one pass. Up to one part it is a whole object, above it is an object in parts."""
    buffer = memoryview(bytearray(min(_READ, part_size)))
    parts: list[bytes] = []
    size = 0
    with Path(path).open("rb", buffering=0) as file:
        while True:
            part, left = hashlib.sha256(), part_size
            while left and (count := file.readinto(buffer[: min(left, len(buffer))])):
                part.update(buffer[:count])
                left -= count
            if left == part_size and parts:
                break
            parts.append(part.digest())
            size += part_size - left
            if left:
                break
    digest = str(Digest(parts[0])) if len(parts) == 1 else composite(parts)
    return FileDigests(size, tuple(parts), digest)
