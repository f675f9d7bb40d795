"""The object store: synchronous, thread-safe, for any server that speaks the S3 API.

Async callers use `asyncio.to_thread`. Operations may be repeated safely and are, for up to `patience` seconds, while
the store is away. Whole objects up to MULTIPART_THRESHOLD go up in one PUT, larger ones in parts of PART_SIZE, so that
the digest of some bytes is the same whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from urllib.parse import unquote
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from trainnet.runtime import digest
from trainnet.runtime._s3http import Body, S3Http, find_text, parse_xml
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

DEFAULT_EXPIRES = timedelta(hours=1)


@dataclass(frozen=True)
class ObjectInfo:
    """An object as the store describes it; `sha256` is a digest in the form of `trainnet.runtime.digest`, or None
    where the store does not say (a listing never does)."""

    key: str
    size: int
    etag: str
    sha256: str | None = None


@dataclass(frozen=True)
class Part:
    """One part of a multipart upload; `sha256` is its 32 bytes, or None where the store does not say."""

    number: int
    size: int
    etag: str
    sha256: bytes | None = None


@dataclass(frozen=True)
class Upload:
    """A multipart upload that is neither complete nor aborted."""

    key: str
    upload_id: str
    initiated: datetime | None


class ObjectStore:
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
        self._public = public_endpoint or endpoint
        self._http = S3Http(
            credentials, endpoint=endpoint, secure=secure, bucket=bucket, pool_size=pool_size, patience=patience
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
        return self._http.sign("GET", key, expires=expires, endpoint=self._public)

    def presign_put(self, key: str, *, size: int, sha256: bytes, expires: timedelta = DEFAULT_EXPIRES) -> SignedRequest:
        """An upload of exactly `size` bytes with this 32-byte SHA-256, once: 412 if the object exists."""
        headers = {**_declared(size, sha256), "if-none-match": "*"}
        return self._http.sign("PUT", key, headers=headers, expires=expires, endpoint=self._public)

    def presign_part(
        self,
        key: str,
        upload_id: str,
        part_number: int,
        *,
        size: int,
        sha256: bytes,
        expires: timedelta = DEFAULT_EXPIRES,
    ) -> SignedRequest:
        """An upload of one part (numbers start at 1) of exactly `size` bytes with this 32-byte SHA-256."""
        query = {"partNumber": str(part_number), "uploadId": upload_id}
        return self._http.sign(
            "PUT", key, query=query, headers=_declared(size, sha256), expires=expires, endpoint=self._public
        )

    # --- multipart uploads ---

    def create_multipart(self, key: str) -> str:
        """Begins an upload whose parts carry SHA-256; returns its id. A retry may leave one behind: list_uploads."""
        headers = {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE"}
        answer = self._http.call("POST", key, query={"uploads": ""}, headers=headers)
        return find_text(parse_xml(answer.data, f"begin upload of {key}"), "UploadId")

    def put_part(
        self, key: str, upload_id: str, part_number: int, data: bytes | bytearray | memoryview, *, sha256: bytes
    ) -> Part:
        """Uploads one part itself. Raises UploadNotFound."""
        query = {"partNumber": str(part_number), "uploadId": upload_id}
        size = memoryview(data).nbytes
        with _upload_errors(key, upload_id):
            answer = self._http.call("PUT", key, query=query, headers=_declared(size, sha256), body=data)
        return Part(part_number, size, answer.headers.get("etag", ""), sha256)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """The parts the store has, by number. Raises UploadNotFound.

        Not every store tells their SHA-256 (SeaweedFS does not), but completing needs it: fill it in from what was
        signed for each part; the store compares.
        """
        parts: list[Part] = []
        marker = "0"
        while True:
            query = {"uploadId": upload_id, "part-number-marker": marker}
            with _upload_errors(key, upload_id):
                answer = self._http.call("GET", key, query=query)
            root = parse_xml(answer.data, f"parts of {key}")
            for item in root.iterfind("{*}Part"):
                checksum = digest.from_s3(find_text(item, "ChecksumSHA256"))
                parts.append(
                    Part(
                        int(find_text(item, "PartNumber")),
                        int(find_text(item, "Size")),
                        find_text(item, "ETag"),
                        digest.parse(checksum).sha256 if checksum else None,
                    )
                )
            marker = find_text(root, "NextPartNumberMarker")
            if find_text(root, "IsTruncated") != "true" or not marker:
                return sorted(parts, key=lambda part: part.number)

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Makes the object from these parts, create-only: ObjectExists if there is one. Raises UploadNotFound.

        Every part needs its `sha256`; StoreRefused if the store holds other bytes than these say.

        When a lost answer makes us ask twice, finding exactly our own parts under the key is success.
        """
        if not parts or any(part.sha256 is None for part in parts):
            raise ValueError("completing needs the SHA-256 of each part")
        root = ElementTree.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for part in sorted(parts, key=lambda part: part.number):
            item = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(item, "PartNumber").text = str(part.number)
            ElementTree.SubElement(item, "ETag").text = part.etag
            if part.sha256 is not None:
                ElementTree.SubElement(item, "ChecksumSHA256").text = digest.to_s3(part.sha256)
        repeats = 0

        def count(attempt: int) -> None:
            nonlocal repeats
            repeats = attempt

        try:
            with _upload_errors(key, upload_id):
                answer = self._http.call(
                    "POST",
                    key,
                    query={"uploadId": upload_id},
                    headers={"if-none-match": "*"},
                    body=ElementTree.tostring(root),
                    on_attempt=count,
                )
                parse_xml(answer.data, f"complete {key}")
        except (StoreRefused, UploadNotFound) as error:
            if repeats and self._is_ours(key, parts):
                return
            if isinstance(error, StoreRefused) and _exists_already(error):
                raise ObjectExists(key) from None
            raise

    def _is_ours(self, key: str, parts: Sequence[Part]) -> bool:
        sums = [part.sha256 for part in sorted(parts, key=lambda part: part.number) if part.sha256 is not None]
        if not sums or len(sums) != len(parts):
            return False
        try:
            return self.stat(key).sha256 == digest.composite(sums)
        except ObjectNotFound:
            return False

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Forgets an upload and its parts; one that is gone already is fine."""
        try:
            with _upload_errors(key, upload_id):
                self._http.call("DELETE", key, query={"uploadId": upload_id})
        except UploadNotFound:
            pass

    def list_uploads(self, prefix: str) -> Iterator[Upload]:
        """Unfinished multipart uploads under a prefix, for collecting the abandoned ones."""
        marker: dict[str, str] = {}
        while True:
            query = {"uploads": "", "prefix": prefix, **marker}
            root = parse_xml(self._http.call("GET", "", query=query).data, "uploads")
            for item in root.iterfind("{*}Upload"):
                initiated = find_text(item, "Initiated")
                yield Upload(
                    find_text(item, "Key"),
                    find_text(item, "UploadId"),
                    datetime.fromisoformat(initiated) if initiated else None,
                )
            marker = {
                "key-marker": find_text(root, "NextKeyMarker"),
                "upload-id-marker": find_text(root, "NextUploadIdMarker"),
            }
            if find_text(root, "IsTruncated") != "true" or not marker["key-marker"]:
                return

    # --- objects ---

    def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""
        headers = self._http.call("HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"}).headers
        return ObjectInfo(
            key,
            int(headers.get("content-length", "0")),
            headers.get("etag", ""),
            digest.from_s3(headers.get("x-amz-checksum-sha256")),
        )

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
        headers = _declared(size, digest.parse(expected).sha256)
        if create_only:
            headers["if-none-match"] = "*"
        repeats = 0

        def count(attempt: int) -> None:
            nonlocal repeats
            repeats = attempt

        try:
            answer = self._http.call("PUT", key, headers=headers, body=body, on_attempt=count)
        except StoreRefused as error:
            if not _exists_already(error):
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

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects under a prefix, by key."""
        with _minio_errors(f"list {prefix}"):
            for item in self._admin.list_objects(self.bucket, prefix=prefix, recursive=True):
                yield ObjectInfo(unquote(item.object_name or ""), item.size or 0, item.etag or "")

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


def _declared(size: int, sha256: bytes) -> dict[str, str]:
    if len(sha256) != 32:
        raise ValueError("a SHA-256 has 32 bytes")
    return {"content-length": str(size), "x-amz-checksum-sha256": digest.to_s3(sha256)}


def _exists_already(error: StoreRefused) -> bool:
    # 409 is S3's answer while another conditional write to the same key is running: that one will win.
    return error.code in ("PreconditionFailed", "ConditionalRequestConflict") or error.status == 412


@contextmanager
def _upload_errors(key: str, upload_id: str) -> Iterator[None]:
    try:
        yield
    except ObjectNotFound:
        raise UploadNotFound(key, upload_id) from None
    except StoreRefused as error:
        if error.code == "NoSuchUpload":
            raise UploadNotFound(key, upload_id) from None
        raise


@contextmanager
def _minio_errors(what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise StoreRefused(what, error.response.status, error.code or "", error.message or "") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__} {error}") from error
