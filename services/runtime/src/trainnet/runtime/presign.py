"""AWS Signature Version 4 in the query string, with signed headers.

Follows "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" of the Amazon S3 API reference,
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html. A header that is signed becomes mandatory
for who uses the URL: with content-length, x-amz-checksum-sha256 and if-none-match signed, a stranger can store exactly
the bytes that were declared, once. Common clients sign the host only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

MAX_EXPIRES = timedelta(days=7)

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    """Keys of the store and the region they sign for."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SignedRequest:
    """A request that anyone may send until `expires_at`, with exactly these headers (the host comes from the URL)."""

    url: str = field(repr=False)
    headers: Mapping[str, str]
    method: str
    expires_at: datetime


def presign(
    credentials: Credentials,
    *,
    method: str,
    endpoint: str,
    secure: bool,
    bucket: str,
    key: str,
    expires: timedelta,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    now: datetime,
) -> SignedRequest:
    """Signs a request for `endpoint` (`host:port`); all `headers` become mandatory.

    Path-style, or virtual-hosted when `bucket` is empty and the endpoint names it. Pure: `now` must be aware. Raises
    ValueError when `expires` is not within 1 second and 7 days.
    """
    seconds = int(expires.total_seconds())
    if not 1 <= seconds <= MAX_EXPIRES.total_seconds():
        raise ValueError("a presigned URL lives from 1 second to 7 days")
    now = now.astimezone(UTC)
    timestamp, day = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}"
    scope = f"{day}/{credentials.region}/s3/aws4_request"
    # HTTP clients leave a default port out of the Host header, which is what gets signed.
    host = endpoint.removesuffix(":443" if secure else ":80")
    sent = {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
    signed = {"host": host, **sent}
    names = ";".join(sorted(signed))

    parameters = {
        **(query or {}),
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": names,
    }
    if credentials.session_token:
        parameters["X-Amz-Security-Token"] = credentials.session_token
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items())
    query_string = "&".join(f"{name}={value}" for name, value in encoded)
    path = "/" + "/".join(quote(piece, safe="-_.~/") for piece in (bucket, key) if piece)

    canonical_headers = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join((method, path, query_string, canonical_headers, names, "UNSIGNED-PAYLOAD"))
    to_sign = "\n".join((_ALGORITHM, timestamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    signing_key = f"AWS4{credentials.secret_key}".encode()
    for piece in (day, credentials.region, "s3", "aws4_request"):
        signing_key = hmac.digest(signing_key, piece.encode(), "sha256")
    signature = hmac.digest(signing_key, to_sign.encode(), "sha256").hex()
    return SignedRequest(
        url=f"{'https' if secure else 'http'}://{host}{path}?{query_string}&X-Amz-Signature={signature}",
        headers=sent,
        method=method,
        expires_at=now.replace(microsecond=0) + timedelta(seconds=seconds),
    )
