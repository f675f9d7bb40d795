"""What the object store gives by itself: presigned uploads and ranged reads on four streams, nothing else running.

Uploads are what workers do: a PUT with length and SHA-256 signed, above 64 MiB in parts. The client's side costs next
to nothing: the bytes are hashed beforehand and sent from one buffer.
"""

import hashlib
import http.client
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from trainnet.local import weed
from trainnet.local.errors import LocalError
from trainnet.local.ports import HOST
from trainnet.local.stack import LocalStack
from trainnet.runtime.presign import Credentials, SignedRequest
from trainnet.runtime.store import PART_SIZE, ObjectStore, Part

STREAMS = 4
READ_BYTES = 32 * 1024 * 1024
# Each stream moves about this much, in whole objects.
STREAM_BYTES = 256 * 1024 * 1024
MAX_OBJECTS = 32

PREFIX = "bench/"


@dataclass(frozen=True)
class Rates:
    """Bytes per second over all streams together."""

    put: float
    get: float


def objects_per_stream(size: int) -> int:
    """How many objects of that size each stream moves."""
    return max(1, min(MAX_OBJECTS, STREAM_BYTES // size))


def measure(stack: LocalStack, size: int) -> Rates:
    """Rates with objects of that size; the objects are removed. Raises StoreError, LocalError."""
    assert stack.ports is not None, "the stack runs"
    assert stack.secrets is not None, "the stack runs"
    credentials = Credentials(stack.secrets.s3_access_key, stack.secrets.s3_secret_key)
    keys = [[f"{PREFIX}{secrets.token_hex(8)}" for _ in range(objects_per_stream(size))] for _ in range(STREAMS)]
    total = STREAMS * len(keys[0]) * size
    with ObjectStore(credentials, endpoint=f"{HOST}:{stack.ports.s3}", bucket=weed.BUCKET) as store:
        try:
            put = _Put(store, size)
            put_s = _together(lambda stream: put.all(keys[stream]))
            get_s = _together(lambda stream: _get(store, keys[stream], size))
        finally:
            store.delete_prefix(PREFIX)
    return Rates(total / put_s, total / get_s)


def _together(work: Callable[[int], None]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(STREAMS, thread_name_prefix="stream") as pool:
        for done in [pool.submit(work, stream) for stream in range(STREAMS)]:
            done.result()
    return time.perf_counter() - began


class _Put:
    """Uploads objects of one size: the same random bytes again and again, which the store cannot know."""

    def __init__(self, store: ObjectStore, size: int) -> None:
        self._store = store
        self._bytes = os.urandom(min(size, PART_SIZE))
        self._sizes = [min(PART_SIZE, size - start) for start in range(0, size, PART_SIZE)]
        self._sha256 = {count: hashlib.sha256(memoryview(self._bytes)[:count]).digest() for count in set(self._sizes)}

    def all(self, keys: list[str]) -> None:
        for key in keys:
            if len(self._sizes) == 1:
                count = self._sizes[0]
                self._send(self._store.presign_put(key, size=count, sha256=self._sha256[count]), count)
            else:
                self._parts(key)

    def _parts(self, key: str) -> None:
        upload = self._store.create_multipart(key)
        parts = []
        for number, count in enumerate(self._sizes, start=1):
            sha256 = self._sha256[count]
            request = self._store.presign_part(key, upload, number, size=count, sha256=sha256)
            parts.append(Part(number, count, self._send(request, count), sha256))
        self._store.complete_multipart(key, upload, parts)

    def _send(self, request: SignedRequest, count: int) -> str:
        url = urlsplit(request.url)
        connection = http.client.HTTPConnection(url.netloc, timeout=120.0)
        try:
            with memoryview(self._bytes)[:count] as body:
                connection.request("PUT", f"{url.path}?{url.query}", body=body, headers=dict(request.headers))
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        if answer.status not in (200, 201):
            raise LocalError(f"the object store refused an upload with {answer.status}")
        return answer.getheader("etag") or ""


def _get(store: ObjectStore, keys: list[str], size: int) -> None:
    buffer = memoryview(bytearray(min(size, READ_BYTES)))
    for key in keys:
        for start in range(0, size, READ_BYTES):
            store.read_into(key, start, buffer[: min(READ_BYTES, size - start)])
