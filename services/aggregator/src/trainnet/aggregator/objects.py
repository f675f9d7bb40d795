"""Small objects and headers, kept because the next step needs them again.

A check reads an update that the merge reads a moment later, and the weights a merge writes are the base of the next
round. Keeping what is small makes a round of a small model cost one request; every entry can be read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from trainnet.runtime import digest
from trainnet.runtime.store import ObjectStore
from trainnet.runtime.tensors import TensorFile, read_header
from trainnet.v1.artifact_pb2 import Artifact

SMALL = 1024 * 1024
"""Objects up to this size are read whole and kept."""

_KEPT_BYTES = 16 * 1024 * 1024
_KEPT_HEADER_BYTES = 8 * 1024 * 1024
# One request brings the header of nearly every model; a longer one costs a second.
_FIRST_READ = 256 * 1024

T = TypeVar("T")


class DigestMismatchError(Exception):
    """The stored bytes are not those that were declared."""


@dataclass(frozen=True)
class Header:
    """A safetensors header: its bytes, length field included, and what they say."""

    raw: bytes
    file: TensorFile


class _Kept(Generic[T]):
    """Least recently used values up to a total size; two threads that miss the same key load it once."""

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self._limit, self._size = limit, size
        self._lock = threading.Lock()
        self._values: OrderedDict[str, Future[T]] = OrderedDict()
        self._used = 0

    def get(self, key: str, load: Callable[[], T]) -> T:
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
            else:
                mine: Future[T] = Future()
                self._values[key] = mine
        if found is not None:
            return found.result()
        try:
            value = load()
        except BaseException as error:
            with self._lock:
                self._values.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(value)
        self._account(self._size(value))
        return value

    def has(self, key: str) -> bool:
        with self._lock:
            return key in self._values

    def put(self, key: str, value: T) -> None:
        self.get(key, lambda: value)

    def _account(self, size: int) -> None:
        with self._lock:
            self._used += size
            for key in list(self._values):
                if self._used <= self._limit:
                    return
                if self._values[key].done():
                    self._used -= self._size(self._values.pop(key).result())


class Objects:
    """Reads small objects and headers through memory. Thread-safe."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._small: _Kept[bytes] = _Kept(_KEPT_BYTES, len)
        # A parsed header takes several times its bytes.
        self._headers: _Kept[Header] = _Kept(_KEPT_HEADER_BYTES, lambda header: len(header.raw))

    def small(self, artifact: Artifact) -> bytes:
        """A whole object of up to SMALL bytes. Raises DigestMismatchError, ObjectNotFound, ShortRead."""
        return self._small.get(_identity(artifact), lambda: self._load(artifact))

    def remembers(self, artifact: Artifact) -> bool:
        """Whether `small` will most likely need no request."""
        return self._small.has(_identity(artifact))

    def _load(self, artifact: Artifact) -> bytes:
        data = bytearray(artifact.size_bytes)
        self._store.read_into(artifact.key, 0, memoryview(data))
        if artifact.digest.startswith("sha256:") and digest.of_bytes(data) != artifact.digest:
            raise DigestMismatchError(f"{artifact.key} does not have the digest {artifact.digest}")
        return bytes(data)

    def keep(self, artifact: Artifact, data: bytes) -> None:
        """Remembers an object that was just written."""
        if len(data) <= SMALL:
            self._small.put(_identity(artifact), data)

    def keep_header(self, artifact: Artifact, header: Header) -> None:
        self._headers.put(_identity(artifact), header)

    def header(self, artifact: Artifact) -> Header:
        """The header of weights that we trust. Raises SafetensorsError."""
        return self._headers.get(_identity(artifact), lambda: self.read_header(artifact))

    def read_header(self, artifact: Artifact, *, max_header: int = 16 << 20, max_tensors: int = 100_000) -> Header:
        """A header, not remembered, within limits. Raises SafetensorsError."""
        size = artifact.size_bytes
        if size <= SMALL:
            data = self.small(artifact)
            found = read_header(
                lambda offset, length: data[offset : offset + length],
                size,
                max_header=max_header,
                max_tensors=max_tensors,
            )
            return Header(data[: found.header_size], found)
        start = bytearray(min(size, _FIRST_READ, 8 + max_header))
        self._store.read_into(artifact.key, 0, memoryview(start))

        def read(offset: int, length: int) -> bytes:
            have = len(start)
            if offset + length > have:
                start.extend(bytes(offset + length - have))
                with memoryview(start) as view:
                    self._store.read_into(artifact.key, have, view[have:])
            return bytes(start[offset : offset + length])

        found = read_header(read, size, max_header=max_header, max_tensors=max_tensors)
        return Header(bytes(start[: found.header_size]), found)


def _identity(artifact: Artifact) -> str:
    return f"{artifact.key} {artifact.digest} {artifact.size_bytes}"
