"""What the object store speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_EXPIRES = timedelta(hours=1)
"""How long a presigned request lives unless said otherwise."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as the store describes it; `sha256` is a digest in the form of `trainnet.runtime.digest`, or None
    where the store does not say (a listing never does). `modified` is known from listings only."""

    key: str
    size: int
    etag: str
    sha256: str | None = None
    modified: datetime | None = None


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
