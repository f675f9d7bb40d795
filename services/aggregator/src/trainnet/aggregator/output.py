"""A file written once, front to back, with the digests that a report needs."""

from __future__ import annotations

import hashlib

from trainnet.aggregator.errors import AggregatorError
from trainnet.runtime import digest
from trainnet.runtime.store import ObjectExists, ObjectStore
from trainnet.v1.artifact_pb2 import Artifact

_COMPARE_BYTES = 4 * 1024 * 1024
_MIB = 1024 * 1024
_SMALLEST_PART = 8 * _MIB
_MOST_PARTS = 9_000  # S3 allows 10,000
_UPLOADS = 2  # the store hashes what it takes, one part on one core


def part_size_for(size: int) -> int:
    """The size of the parts that an object of `size` bytes is written in: small, since three of them are in memory, and
    the same for the same size, since the digest depends on it. Whoever verifies finds it beside the digest."""
    return max(_SMALLEST_PART, -(-size // (_MOST_PARTS * _MIB)) * _MIB)


class KeyTakenError(AggregatorError):
    """Other bytes lie under the key already."""


class Output:
    """Streams into a new object. `finish` makes it, `abort` leaves nothing; one of them must be called. Leaving it as a
    context manager calls `abort`, which does no harm after `finish`.

    A key that exists already with exactly these bytes is success: an earlier attempt got that far. Memory is three
    parts; `size` is that of the whole object.
    """

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store, self._key, self._part_size = store, key, part_size_for(size)
        self._writer = store.open_writer(key, self._part_size, uploads=_UPLOADS)
        self._sha256 = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        self._size += len(data)
        self._writer.write(data)

    def finish(self) -> tuple[Artifact, str]:
        """The object and the SHA-256 of its bytes in hex."""
        sha256 = self._sha256.hexdigest()
        try:
            info = self._writer.close()
            found = info.sha256 or ""
        except ObjectExists:
            found = self._existing(sha256)
        return artifact(self._key, found, self._size, self._part_size), sha256

    def _existing(self, sha256: str) -> str:
        """The digest of the object that is there, after reading it: it must be what we were going to write."""
        if self._store.stat(self._key).size != self._size:
            raise KeyTakenError(f"{self._key} exists with another length")
        whole, part = hashlib.sha256(), hashlib.sha256()
        parts: list[bytes] = []
        buffer = memoryview(bytearray(min(_COMPARE_BYTES, self._size)))
        offset = 0
        while offset < self._size:
            to_part_end = self._part_size - offset % self._part_size
            view = buffer[: min(_COMPARE_BYTES, to_part_end, self._size - offset)]
            self._store.read_into(self._key, offset, view)
            whole.update(view)
            part.update(view)
            offset += len(view)
            if offset % self._part_size == 0 or offset == self._size:
                parts.append(part.digest())
                part = hashlib.sha256()
        if whole.hexdigest() != sha256:
            raise KeyTakenError(f"{self._key} exists with other bytes")
        return f"sha256:{sha256}" if self._size <= self._part_size else digest.composite(parts)

    def abort(self) -> None:
        self._writer.abort()

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


def artifact(key: str, found: str, size: int, part_size: int) -> Artifact:
    """A reference to an object that was written here, as others verify it."""
    parts = part_size if found.startswith("sha256-parts:") else 0
    return Artifact(key=key, digest=found, size_bytes=size, part_size_bytes=parts)
