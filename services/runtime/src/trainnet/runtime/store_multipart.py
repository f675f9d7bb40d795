"""Multipart uploads of the object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from xml.etree import ElementTree

from trainnet.runtime import digest
from trainnet.runtime._s3http import S3Http, declared, exists_already, find_text, parse_xml, stat
from trainnet.runtime.presign import SignedRequest
from trainnet.runtime.store_errors import ObjectExists, ObjectNotFound, StoreRefused, UploadNotFound
from trainnet.runtime.store_types import DEFAULT_EXPIRES, Part, Upload


class MultipartUploads:
    """The part of ObjectStore that deals with uploads in parts."""

    _http: S3Http

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
            "PUT", key, query=query, headers=declared(size, sha256), expires=expires, endpoint=self._http.public
        )

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
            answer = self._http.call("PUT", key, query=query, headers=declared(size, sha256), body=data)
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
            if isinstance(error, StoreRefused) and exists_already(error):
                raise ObjectExists(key) from None
            raise

    def _is_ours(self, key: str, parts: Sequence[Part]) -> bool:
        sums = [part.sha256 for part in sorted(parts, key=lambda part: part.number) if part.sha256 is not None]
        if not sums or len(sums) != len(parts):
            return False
        try:
            return stat(self._http, key).sha256 == digest.composite(sums)
        except ObjectNotFound:
            return False

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Forgets an upload and its parts; one that is gone already is fine."""
        try:
            with _upload_errors(key, upload_id):
                self._http.call("DELETE", key, query={"uploadId": upload_id})
        except UploadNotFound:
            pass

    def list_uploads(self, prefix: str, *, after: str = "") -> Iterator[Upload]:
        """Unfinished multipart uploads under a prefix, by key, for collecting the abandoned ones; `after` leaves out
        those of all keys up to and with this one."""
        marker: dict[str, str] = {"key-marker": after} if after else {}
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
