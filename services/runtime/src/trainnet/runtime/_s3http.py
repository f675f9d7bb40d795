"""Signed S3 requests over one connection pool, retried while the store is away."""

from __future__ import annotations

import http.client
import queue
import random
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from xml.etree import ElementTree

import structlog
import urllib3

from trainnet.runtime import digest
from trainnet.runtime.presign import Credentials, SignedRequest, presign
from trainnet.runtime.store_errors import ObjectNotFound, ShortRead, StoreRefused, StoreUnavailable
from trainnet.runtime.store_types import ObjectInfo

T = TypeVar("T")

Body = bytes | bytearray | memoryview | None

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_OWN_EXPIRES = timedelta(minutes=15)
_RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
_FIRST_DELAY = 0.1
_MAX_DELAY = 2.0

_log = structlog.get_logger(__name__)


def retrying(operation: Callable[[int], T], *, patience: float, what: str) -> T:
    """Calls `operation(attempt)` until it does not raise StoreUnavailable or `patience` seconds are over.

    Only for operations that may be repeated. Pauses double from 0.1 to 2 seconds, jittered.
    """
    deadline = time.monotonic() + patience
    attempt = 0
    while True:
        try:
            result = operation(attempt)
        except StoreUnavailable as error:
            delay = min(_MAX_DELAY, _FIRST_DELAY * 2**attempt) * random.uniform(0.5, 1.0)
            if time.monotonic() + delay > deadline:
                raise
            if attempt == 0:
                _log.debug("store failed, retrying", what=what, error=str(error))
            elif attempt == 3:
                _log.warning("store keeps failing, retrying", what=what, error=str(error))
            time.sleep(delay)
            attempt += 1
        else:
            if attempt > 3:
                _log.info("store is back", what=what)
            return result


def find_text(element: ElementTree.Element, name: str) -> str:
    """The text of a child, whatever the namespace: stores differ in whether they send one."""
    return element.findtext(f"{{*}}{name}") or ""


def parse_xml(body: bytes, what: str) -> ElementTree.Element:
    """The root of an answer. Raises StoreRefused for something else and for an error inside a 200 (S3 does that)."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  # the store is ours
    except ElementTree.ParseError as error:
        raise StoreRefused(what, 200, "MalformedAnswer", str(error)) from None
    if root.tag.rpartition("}")[2] == "Error":
        raise StoreRefused(what, 200, find_text(root, "Code"), find_text(root, "Message"))
    return root


def _refusal(what: str, status: int, body: bytes) -> StoreRefused:
    try:
        root = ElementTree.fromstring(body)  # noqa: S314
        return StoreRefused(what, status, find_text(root, "Code"), find_text(root, "Message"))
    except ElementTree.ParseError:
        return StoreRefused(what, status, http.client.responses.get(status, ""), "")


class S3Http:
    """Requests to one bucket. Thread-safe."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        endpoint: str,
        public: str,
        secure: bool,
        bucket: str,
        pool_size: int,
        patience: float,
    ) -> None:
        self.credentials, self.endpoint, self.secure, self.bucket = credentials, endpoint, secure, bucket
        self.public = public
        self.patience = patience
        self.pool = urllib3.PoolManager(
            maxsize=pool_size,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        )
        self._readers: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(maxsize=pool_size)
        self._tls = ssl.create_default_context() if secure else None

    def close(self) -> None:
        self.pool.clear()
        while True:
            try:
                self._readers.get_nowait().close()
            except queue.Empty:
                return

    def sign(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expires: timedelta = _OWN_EXPIRES,
        endpoint: str | None = None,
    ) -> SignedRequest:
        return presign(
            self.credentials,
            method=method,
            endpoint=endpoint or self.endpoint,
            secure=self.secure,
            bucket=self.bucket,
            key=key,
            expires=expires,
            headers=headers,
            query=query,
            now=datetime.now(UTC),
        )

    def send(
        self, request: SignedRequest, *, body: Body = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One attempt of a signed request, with `headers` instead of its own if given. Any status is an answer."""
        try:
            return self.pool.request(
                request.method,
                request.url,
                body=body,  # type: ignore[arg-type]  # urllib3 sends anything with the buffer protocol
                headers=dict(request.headers if headers is None else headers),
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"{request.method} on {self.endpoint}: {type(error).__name__}") from error
        except OSError as error:
            raise StoreUnavailable(f"{request.method} on {self.endpoint}: {error}") from error

    def call(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        on_attempt: Callable[[int], None] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """A request that may be repeated. Raises ObjectNotFound, StoreRefused (other 4xx) or StoreUnavailable.

        `on_attempt` sees each attempt's number: an answer to a second one may be about the effect of the first.
        """
        what = f"{method} {key or self.bucket}"

        def once(attempt: int) -> urllib3.BaseHTTPResponse:
            if on_attempt is not None:
                on_attempt(attempt)
            response = self.send(self.sign(method, key, query=query, headers=headers), body=body)
            if response.status in _RETRIED_STATUS:
                raise StoreUnavailable(str(_refusal(what, response.status, response.data)))
            return response

        response = retrying(once, patience=self.patience, what=what)
        if 200 <= response.status < 300:
            return response
        refusal = _refusal(what, response.status, response.data)
        # HEAD has no body to say which kind of 404 it is.
        if response.status == 404 and refusal.code in ("NoSuchKey", "Not Found", ""):
            raise ObjectNotFound(key)
        raise refusal

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """Fills `view` from `offset` of an object. urllib3 would copy each byte once more, so http.client reads."""
        what = f"GET {key}"
        wanted = len(view)

        def once(_attempt: int) -> None:
            connection = self._reader()
            try:
                request = self.sign("GET", key)
                target = request.url[request.url.index("/", request.url.index("//") + 2) :]
                connection.request("GET", target, headers={"Range": f"bytes={offset}-{offset + wanted - 1}"})
                response = connection.getresponse()
                self._check_range(what, key, offset, wanted, response)
                done = 0
                while done < wanted and (count := response.readinto(view[done:])):
                    done += count
                if done < wanted:
                    raise StoreUnavailable(f"{what}: the connection ended {wanted - done} bytes early")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise StoreUnavailable(f"{what}: {type(error).__name__} {error}") from error
            except BaseException:
                connection.close()  # an unread body would be taken for the next answer
                raise
            self._put_back(connection)

        retrying(once, patience=self.patience, what=what)

    def _check_range(self, what: str, key: str, offset: int, wanted: int, response: http.client.HTTPResponse) -> None:
        status = response.status
        if status in _RETRIED_STATUS:
            raise StoreUnavailable(str(_refusal(what, status, response.read())))
        if status == 404:
            raise ObjectNotFound(key)
        if status == 416:
            raise ShortRead(key, offset, wanted)
        if status not in (200, 206):
            raise _refusal(what, status, response.read())
        # A 200 is the whole object: right only if that is what was asked for.
        if response.length != wanted or (status == 200 and offset != 0):
            raise ShortRead(key, offset, wanted)

    def _reader(self) -> http.client.HTTPConnection:
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            pass
        host, _, port = self.endpoint.rpartition(":")
        host = host.strip("[]")
        if self._tls is not None:
            return http.client.HTTPSConnection(host, int(port), timeout=_READ_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, int(port), timeout=_READ_SECONDS)

    def _put_back(self, connection: http.client.HTTPConnection) -> None:
        try:
            self._readers.put_nowait(connection)
        except queue.Full:
            connection.close()


def declared(size: int, sha256: bytes) -> dict[str, str]:
    """Headers that, signed, pin the body of an upload."""
    if len(sha256) != 32:
        raise ValueError("a SHA-256 has 32 bytes")
    return {"content-length": str(size), "x-amz-checksum-sha256": digest.to_s3(sha256)}


def exists_already(error: StoreRefused) -> bool:
    """Whether a create-only request lost."""
    # 409 is S3's answer while another conditional write to the same key is running: that one will win.
    return error.code in ("PreconditionFailed", "ConditionalRequestConflict") or error.status == 412


def stat(http: S3Http, key: str) -> ObjectInfo:
    """What the store knows of an object. Raises ObjectNotFound."""
    headers = http.call("HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"}).headers
    return ObjectInfo(
        key,
        int(headers.get("content-length", "0")),
        headers.get("etag", ""),
        digest.from_s3(headers.get("x-amz-checksum-sha256")),
    )
