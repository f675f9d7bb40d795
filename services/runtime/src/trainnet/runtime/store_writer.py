"""A stream into one new object, in constant memory."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trainnet.runtime import digest
from trainnet.runtime.store_types import ObjectInfo, Part

if TYPE_CHECKING:
    from trainnet.runtime.store import ObjectStore


class MultipartWriter:
    """Write, then `close` to make the object (create-only) or `abort` to leave nothing.

    Up to `part_size` bytes become a whole object in one PUT, more become parts. Up to `uploads` parts go up in the
    background while the next fills, so at most `uploads` + 1 are in memory. For one thread at a time. As a context
    manager it closes on success and aborts on an error.
    """

    def __init__(self, store: ObjectStore, key: str, part_size: int, uploads: int) -> None:
        if part_size < 5 * 1024 * 1024:
            raise ValueError("S3 takes no parts below 5 MiB")
        if uploads < 1:
            raise ValueError("a writer needs at least one upload at a time")
        self._store, self._key, self._part_size = store, key, part_size
        self._filling = bytearray()
        self._spare: list[bytearray] = []
        self._uploads = uploads
        self._used = 0
        self._size = 0
        self._upload_id: str | None = None
        self._parts: list[Part] = []
        # In the order of their numbers, each with the buffer that is free again when it is done.
        self._pending: deque[tuple[Future[Part], bytearray]] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self._done = False

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Takes a copy of the data. Raises the error of a part that failed before."""
        if self._done:
            raise ValueError("the writer is closed")
        view = memoryview(data).cast("B")
        while len(view):
            # A full part waits until there is more: a last part and a whole object look the same until then.
            if self._used == self._part_size:
                self._send_part()
            count = min(len(view), self._part_size - self._used)
            # Grows the buffer the first time and overwrites it later: small objects cost little, parts no new memory.
            self._filling[self._used : self._used + count] = view[:count]
            self._used += count
            self._size += count
            view = view[count:]

    def close(self) -> ObjectInfo:
        """Makes the object and returns what it is, digest included. Raises ObjectExists; on any error, aborts."""
        if self._done:
            raise ValueError("the writer is closed")
        try:
            if self._upload_id is None:
                with memoryview(self._filling)[: self._used] as body:
                    return self._store.put(self._key, body)
            self._send_part()
            while self._pending:
                self._wait_for_part()
            self._store.complete_multipart(self._key, self._upload_id, self._parts)
            # What the parts must give, not what the store says: the two are compared by who reads the object.
            expected = digest.composite([part.sha256 for part in self._parts if part.sha256 is not None])
            self._upload_id = None
            return ObjectInfo(self._key, self._size, "", expected)
        finally:
            self.abort()

    def abort(self) -> None:
        """Leaves nothing behind. Does nothing after close; may be called twice."""
        self._done = True
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        upload_id, self._upload_id = self._upload_id, None
        self._filling = bytearray()
        self._spare.clear()
        self._pending.clear()
        if upload_id is not None:
            self._store.abort_multipart(self._key, upload_id)

    def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._store.create_multipart(self._key)
            self._executor = ThreadPoolExecutor(max_workers=self._uploads, thread_name_prefix="part-upload")
        assert self._executor is not None
        if len(self._pending) == self._uploads:
            self._wait_for_part()
        number = len(self._parts) + len(self._pending) + 1
        future = self._executor.submit(self._upload, self._upload_id, number, self._filling, self._used)
        self._pending.append((future, self._filling))
        self._filling, self._used = self._spare.pop() if self._spare else bytearray(), 0

    def _upload(self, upload_id: str, number: int, buffer: bytearray, used: int) -> Part:
        with memoryview(buffer)[:used] as body:
            return self._store.put_part(self._key, upload_id, number, body, sha256=hashlib.sha256(body).digest())

    def _wait_for_part(self) -> None:
        future, buffer = self._pending.popleft()
        self._parts.append(future.result())
        self._spare.append(buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._done:
            return
        if kind is None:
            self.close()
        else:
            self.abort()
