"""The signature against the example that AWS publishes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from trainnet.runtime.presign import Credentials, presign

AWS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_example_of_the_s3_reference() -> None:
    """docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, "An example"."""
    request = presign(
        AWS,
        method="GET",
        endpoint="examplebucket.s3.amazonaws.com",
        secure=True,
        bucket="",
        key="test.txt",
        expires=timedelta(seconds=86400),
        now=THEN,
    )
    parts = urlsplit(request.url)
    query = parse_qs(parts.query)
    assert (parts.netloc, parts.path) == ("examplebucket.s3.amazonaws.com", "/test.txt")
    assert query["X-Amz-Credential"] == ["AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"]
    assert query["X-Amz-Signature"] == ["aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"]
    assert request.expires_at == THEN + timedelta(days=1)
    assert request.headers == {}


def sign(endpoint: str = "store:9000", secure: bool = False, **changes: object) -> str:
    arguments: dict[str, object] = {
        "method": "PUT",
        "bucket": "b",
        "key": "k",
        "expires": timedelta(minutes=1),
        "now": THEN,
        **changes,
    }
    return presign(AWS, endpoint=endpoint, secure=secure, **arguments).url  # type: ignore[arg-type]


def test_everything_that_is_declared_is_signed() -> None:
    base = {"content-length": "3", "x-amz-checksum-sha256": "x", "if-none-match": "*"}
    url = sign(headers=base)
    assert parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"] == [
        "content-length;host;if-none-match;x-amz-checksum-sha256"
    ]
    variants = {sign(headers={**base, name: "other"}) for name in base}
    variants |= {sign(headers=base, method="GET"), sign(headers=base, key="l"), sign(headers=base, bucket="c")}
    assert url not in variants
    assert len(variants) == 6


def test_a_default_port_is_left_out_as_clients_do() -> None:
    assert sign("store:80") == sign("store")
    assert sign("store:443", secure=True) == sign("store", secure=True)
    assert sign("store:443").startswith("http://store:443/")


def test_keys_and_queries_are_escaped() -> None:
    url = sign(key="a b/ü+&", query={"uploadId": "x/y="})
    assert "/b/a%20b/%C3%BC%2B%26?" in url
    assert "uploadId=x%2Fy%3D" in url


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(days=8)])
def test_expiry_is_bounded(expires: timedelta) -> None:
    with pytest.raises(ValueError, match="7 days"):
        sign(expires=expires)


def test_secrets_do_not_show() -> None:
    request = presign(
        AWS, method="GET", endpoint="e", secure=False, bucket="b", key="k", expires=timedelta(minutes=1), now=THEN
    )
    assert "Signature" not in repr(request)
    assert AWS.secret_key not in repr(AWS)
