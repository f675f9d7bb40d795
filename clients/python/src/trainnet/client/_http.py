"""One request to the object store by a signed URL. Standard library only; the caller decides about retries."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from trainnet.v1 import artifact_pb2

TIMEOUT_S = 60.0
"""How long the store may be silent within one request."""

BROKEN: tuple[type[Exception], ...] = (OSError, http.client.HTTPException)
"""What a connection that breaks raises."""


class Answer:
    """Status, headers and body of an answer. Iterate `chunks` within the `send` that made it."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self._response = response

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        return self._response.getheader(name) or ""

    def chunks(self, size: int) -> Iterator[bytes]:
        """The body. A body that ends early simply ends: the caller knows the length to expect."""
        while chunk := self._response.read(size):
            yield chunk

    def problem(self) -> str:
        """For people: the status and what the store's XML gives as the reason."""
        try:
            body = self._response.read(4096).decode("utf-8", "replace")
        except BROKEN:
            body = ""
        code = body.partition("<Code>")[2].partition("</Code>")[0]
        return f"{self.status} {code or self._response.reason}".strip()


@contextmanager
def send(
    request: artifact_pb2.SignedRequest, *, body: Iterable[bytes] = (), headers: Mapping[str, str] | None = None
) -> Iterator[Answer]:
    """Sends exactly the granted headers, and `headers`, which must not be among the signed ones.

    A store may refuse in mid-body and close; its answer is read all the same. Raises one of BROKEN.
    """
    url = urlsplit(request.url)
    host = url.hostname or ""
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, url.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, url.port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(
            request.method, f"{url.path}?{url.query}" if url.query else url.path, skip_accept_encoding=True
        )
        for name, value in {**request.headers, **(headers or {})}.items():
            if name.lower() != "host":  # http.client sends it, from the URL
                connection.putheader(name, value)
        connection.endheaders()
        refused: OSError | None = None
        try:
            for chunk in body:
                connection.send(chunk)
        except (BrokenPipeError, ConnectionResetError) as error:
            refused = error
        try:
            response = connection.getresponse()
        except BROKEN:
            if refused is not None:
                raise refused from None
            raise
        yield Answer(response)
    finally:
        connection.close()
