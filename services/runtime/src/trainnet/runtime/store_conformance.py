"""Does the store enforce what uploads by strangers rely on? Several that speak S3 do not, silently."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from trainnet.runtime import digest
from trainnet.runtime._s3http import S3Http, retrying
from trainnet.runtime.presign import SignedRequest
from trainnet.runtime.store_errors import ObjectExists, StoreError, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from trainnet.runtime.store import ObjectStore

PREFIX = ".trainnet-conformance/"

_BODY = b"trainnet conformance probe"
_WRONG = bytes(reversed(_BODY))
_SHA256 = hashlib.sha256(_BODY).digest()
_PART = b"p" * 1024
_PART_SHA256 = hashlib.sha256(_PART).digest()
_WRONG_SHA256 = hashlib.sha256(_WRONG).digest()


def find_failures(store: ObjectStore, http: S3Http) -> list[str]:
    """What the store does not enforce, in words; empty when it conforms. Leaves nothing behind."""
    prefix = f"{PREFIX}{secrets.token_hex(8)}/"
    try:
        return _single(store, http, f"{prefix}single") + _parts(store, http, f"{prefix}parts")
    finally:
        store.delete_prefix(prefix)


def _status(http: S3Http, request: SignedRequest, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    def once(_attempt: int) -> int:
        try:
            return http.send(request, body=body, headers=headers).status
        except StoreUnavailable:
            # Some stores refuse a body by closing the connection; only one that is away fails this too.
            store_answers = http.send(http.sign("HEAD", "")).status < 500
            if store_answers:
                return 400
            raise

    return retrying(once, patience=http.patience, what="conformance check")


def _refused(status: int) -> bool:
    return 400 <= status < 500


def _single(store: ObjectStore, http: S3Http, key: str) -> list[str]:
    failures = []
    checksum = digest.to_s3(_SHA256)
    signed = {"content-length": str(len(_BODY)), "x-amz-checksum-sha256": checksum, "if-none-match": "*"}
    request = http.sign("PUT", key, headers=signed)
    longer = {**signed, "content-length": str(len(_BODY) + 1)}
    if not _refused(_status(http, request, _BODY + b"x", longer)):
        failures.append("the signed Content-Length of a PUT")
    if not _refused(_status(http, request, _WRONG)):
        failures.append("x-amz-checksum-sha256 of a PUT (wrong bytes were stored)")
    without = {name: value for name, value in signed.items() if name != "x-amz-checksum-sha256"}
    if not _refused(_status(http, request, _BODY, without)):
        failures.append("that signed headers are sent")
    if failures:
        store.delete([key])  # what must not be there would spoil the next probes
    if (status := _status(http, request, _BODY)) != 200:
        return [*failures, f"a correct presigned PUT succeeds (HTTP {status})"]
    if _status(http, request, _BODY) != 412:
        failures.append("If-None-Match: * of a PUT (an object was replaced)")
    if store.stat(key).sha256 != digest.of_bytes(_BODY):
        failures.append("that HEAD tells the SHA-256 of an object")
    piece = bytearray(5)
    store.read_into(key, 3, memoryview(piece))
    if bytes(piece) != _BODY[3:8]:
        failures.append("ranged reads")
    return failures


def _parts(store: ObjectStore, http: S3Http, key: str) -> list[str]:
    failures = []
    upload_id = store.create_multipart(key)
    query = {"partNumber": "1", "uploadId": upload_id}
    headers = {"content-length": str(len(_PART)), "x-amz-checksum-sha256": digest.to_s3(_PART_SHA256)}
    request = http.sign("PUT", key, query=query, headers=headers)
    if not _refused(_status(http, request, b"q" * len(_PART))):
        failures.append("x-amz-checksum-sha256 of a part (wrong bytes were stored)")
    if not _refused(_status(http, request, _PART + b"x", {**headers, "content-length": str(len(_PART) + 1)})):
        failures.append("the signed Content-Length of a part")
    if (status := _status(http, request, _PART)) != 200:
        return [*failures, f"a correct presigned part succeeds (HTTP {status})"]
    parts = store.list_parts(key, upload_id)
    if [(part.number, part.size) for part in parts] != [(1, len(_PART))]:
        failures.append("that the parts of an upload are listed with their sizes")
    try:
        store.complete_multipart(key, upload_id, [replace(part, sha256=_WRONG_SHA256) for part in parts])
        return [*failures, "the SHA-256 of parts when a multipart upload completes (a wrong one was accepted)"]
    except StoreRefused:
        pass
    try:
        store.complete_multipart(key, upload_id, [replace(part, sha256=_PART_SHA256) for part in parts])
    except StoreError as error:
        return [*failures, f"a multipart upload completes ({error})"]
    if store.stat(key).sha256 != digest.composite([_PART_SHA256]):
        failures.append("that HEAD tells the composite SHA-256 of a multipart object")
    second = store.create_multipart(key)
    part = store.put_part(key, second, 1, _PART, sha256=_PART_SHA256)
    try:
        store.complete_multipart(key, second, [part])
        failures.append("If-None-Match: * when a multipart upload completes (an object was replaced)")
    except ObjectExists:
        pass
    return failures
