"""Errors of the object store. They stay inside a process: a service decides what its callers learn.

StoreError
├── ObjectNotFound      ├── StoreUnavailable
├── ObjectExists        ├── StoreRefused
├── ObjectTooLarge      └── StoreNotConformant
├── ShortRead
└── UploadNotFound
"""

from __future__ import annotations


class StoreError(Exception):
    """The object store failed."""


class ObjectNotFound(StoreError):
    """There is no such object."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"no object {key}")


class ObjectExists(StoreError):
    """The object exists already and may only be created."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"object {key} exists already")


class ObjectTooLarge(StoreError):
    """The object is larger than the reader allows."""

    def __init__(self, key: str, size: int, limit: int) -> None:
        self.key, self.size, self.limit = key, size, limit
        super().__init__(f"object {key} has {size} bytes, more than {limit}")


class ShortRead(StoreError):
    """The object ends before the range that was asked for does."""

    def __init__(self, key: str, offset: int, length: int) -> None:
        self.key, self.offset, self.length = key, offset, length
        super().__init__(f"object {key} has no {length} bytes at {offset}")


class UploadNotFound(StoreError):
    """There is no such multipart upload: it was completed, aborted, or never begun."""

    def __init__(self, key: str, upload_id: str) -> None:
        self.key, self.upload_id = key, upload_id
        super().__init__(f"no upload {upload_id} for {key}")


class StoreUnavailable(StoreError):
    """The store could not be reached, or failed, for as long as we were willing to wait."""


class StoreRefused(StoreError):
    """The store said no: wrong credentials, bucket, checksum or request."""

    def __init__(self, what: str, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(f"{what}: HTTP {status} {code} {message}".rstrip())


class StoreNotConformant(StoreError):
    """The store does not enforce what uploads by strangers rely on."""

    def __init__(self, failures: list[str]) -> None:
        self.failures = failures
        super().__init__("the object store does not enforce: " + "; ".join(failures))
