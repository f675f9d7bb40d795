"""The object store: synchronous, thread-safe, for any server that speaks the S3 API.

Async callers use `asyncio.to_thread`. Operations may be repeated safely and are, for up to `patience` seconds, while
the store is away. Whole objects up to MULTIPART_THRESHOLD go up in one PUT, larger ones in parts of PART_SIZE, so that
the digest of some bytes is the same whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from trainnet.runtime import digest
from trainnet.runtime._s3http import Body, S3Http, declared, exists_already, stat
from trainnet.runtime.presign import Credentials, SignedRequest
from trainnet.runtime.settings import StoreSettings
from trainnet.runtime.store_errors import (
    ObjectExists,
    ObjectNotFound,
    ObjectTooLarge,
    ShortRead,
    StoreError,
    StoreNotConformant,
    StoreRefused,
    StoreUnavailable,
    UploadNotFound,
)
from trainnet.runtime.store_multipart import MultipartUploads
from trainnet.runtime.store_types import DEFAULT_EXPIRES, ObjectInfo, Part, Upload
from trainnet.runtime.store_writer import MultipartWriter

__all__ = [
    "MULTIPART_THRESHOLD",
    "PART_SIZE",
    "MultipartWriter",
    "ObjectExists",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "ObjectTooLarge",
    "Part",
    "ShortRead",
    "SignedRequest",
    "StoreError",
    "StoreNotConformant",
    "StoreRefused",
    "StoreUnavailable",
    "Upload",
    "UploadNotFound",
]

MULTIPART_THRESHOLD = 64 * 1024 * 1024
PART_SIZE = 64 * 1024 * 1024


class ObjectStore(MultipartUploads):
    """One bucket. All methods raise StoreUnavailable when the store stays away, StoreRefused when it says no."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        endpoint: str,
        public_endpoint: str | None = None,
        secure: bool = False,
        bucket: str = "trainnet",
        pool_size: int = 16,
        patience: float = 30.0,
    ) -> None:
        self.bucket = bucket
        self._http = S3Http(
            credentials,
            endpoint=endpoint,
            public=public_endpoint or endpoint,
            secure=secure,
            bucket=bucket,
            pool_size=pool_size,
            patience=patience,
        )
        retry = urllib3.Retry(
            total=10,
            backoff_factor=0.1,
            backoff_max=patience / 10,
            status_forcelist=[500, 502, 503, 504],
            allowed_methods=None,
        )
        self._admin = Minio(
            endpoint,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            secure=secure,
            region=credentials.region,
            http_client=urllib3.PoolManager(maxsize=4, retries=retry, timeout=urllib3.Timeout(connect=5.0, read=60.0)),
        )

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> Self:
        return cls(
            Credentials(settings.s3_access_key, settings.s3_secret_key.get_secret_value(), region=settings.s3_region),
            endpoint=settings.s3_endpoint,
            public_endpoint=settings.s3_public_endpoint,
            secure=settings.s3_secure,
            bucket=settings.s3_bucket,
        )

    def close(self) -> None:
        """Closes idle connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the bucket ---

    def ensure_bucket(self) -> None:
        """Creates the bucket unless it exists."""
        with _minio_errors("bucket"):
            if self._admin.bucket_exists(self.bucket):
                return
            try:
                self._admin.make_bucket(self.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def check_conformance(self) -> None:
        """Proves that the store enforces what uploads by strangers rely on; raises StoreNotConformant with what not.

        About fifteen small requests, once at start; the probe objects are removed.
        """
        from trainnet.runtime.store_conformance import find_failures

        failures = find_failures(self, self._http)
        if failures:
            raise StoreNotConformant(failures)

    # --- presigned requests, for workers: signed for the public endpoint ---

    def presign_get(self, key: str, *, expires: timedelta = DEFAULT_EXPIRES) -> SignedRequest:
        """A download; the holder may add a Range header."""
        return self._http.sign("GET", key, expires=expires, endpoint=self._http.public)

    def presign_put(self, key: str, *, size: int, sha256: bytes, expires: timedelta = DEFAULT_EXPIRES) -> SignedRequest:
        """An upload of exactly `size` bytes with this 32-byte SHA-256, once: 412 if the object exists."""
        headers = {**declared(size, sha256), "if-none-match": "*"}
        return self._http.sign("PUT", key, headers=headers, expires=expires, endpoint=self._http.public)

    # --- objects ---

    def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""
        return stat(self._http, key)

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """Fills all of `view` (contiguous, writable) from `offset`, straight from the socket.

        Raises ObjectNotFound, or ShortRead if the object ends earlier. On any error the content of `view` is undefined.
        """
        view = view.cast("B")
        if len(view):
            self._http.read_into(key, offset, view)

    def get(self, key: str, max_bytes: int) -> bytes:
        """A small object in one piece. Raises ObjectNotFound or ObjectTooLarge."""
        size = self.stat(key).size
        if size > max_bytes:
            raise ObjectTooLarge(key, size, max_bytes)
        data = bytearray(size)
        self.read_into(key, 0, memoryview(data))
        return bytes(data)

    def put(self, key: str, data: bytes | bytearray | memoryview, *, create_only: bool = True) -> ObjectInfo:
        """One PUT, checked by the store. Raises ObjectExists if `create_only` and there is one.

        When a lost answer makes us ask twice, finding exactly our own bytes under the key is success.
        """
        body: Body = data
        size = memoryview(data).nbytes
        expected = digest.of_bytes(data)
        headers = declared(size, digest.parse(expected).sha256)
        if create_only:
            headers["if-none-match"] = "*"
        repeats = 0

        def count(attempt: int) -> None:
            nonlocal repeats
            repeats = attempt

        try:
            answer = self._http.call("PUT", key, headers=headers, body=body, on_attempt=count)
        except StoreRefused as error:
            if not exists_already(error):
                raise
            if repeats and (found := self.stat(key)).sha256 == expected:
                return found
            raise ObjectExists(key) from None
        return ObjectInfo(key, size, answer.headers.get("etag", ""), expected)

    def open_writer(self, key: str, part_size: int = PART_SIZE, *, uploads: int = 1) -> MultipartWriter:
        """A stream into a new object, in memory of `uploads` + 1 parts; more uploads at a time are faster where the
        store's hashing is the limit. Keep the default part size where others will compare the digest: a composite
        depends on it."""
        return MultipartWriter(self, key, part_size, uploads)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """All objects under a prefix, by key, fetched in pages as they are asked for; `after` leaves out all up to and
        with this key."""
        with _minio_errors(f"list {prefix}"):
            for item in self._admin.list_objects(self.bucket, prefix=prefix, recursive=True, start_after=after or None):
                yield ObjectInfo(
                    unquote(item.object_name or ""), item.size or 0, item.etag or "", modified=item.last_modified
                )

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; those that are not there are fine."""
        with _minio_errors("delete"):
            doomed = (DeleteObject(key) for key in keys)
            failed = [f"{error.name}: {error.message}" for error in self._admin.remove_objects(self.bucket, doomed)]
        if failed:
            raise StoreError(f"{len(failed)} objects were not deleted: {failed[0]}")

    def delete_prefix(self, prefix: str) -> None:
        """Deletes all objects under a prefix and aborts its unfinished uploads. Refuses the empty prefix."""
        if not prefix:
            raise ValueError("an empty prefix is the whole bucket")
        self.delete(item.key for item in self.list(prefix))
        for upload in self.list_uploads(prefix):
            self.abort_multipart(upload.key, upload.upload_id)


@contextmanager
def _minio_errors(what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise StoreRefused(what, error.response.status, error.code or "", error.message or "") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__} {error}") from error
