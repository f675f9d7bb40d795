"""A small real HTTP server in the place of the object store, with faults to order."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from trainnet.v1 import artifact_pb2


class Store:
    """Keeps what is PUT to granted URLs and serves it with ranges.

    `faults` is a queue: each request takes one and acts on it. `403` and `503` answer that, `cut` breaks the connection
    in the middle of the body, `early` answers 503 before reading the body and closes, `rot` serves other bytes of the
    same length, `hang` takes the body and answers nothing until `released` is set, `none` behaves. `missed` is called
    when something is asked for that is not there, before the 404.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.grants: dict[str, dict[str, str]] = {}
        self.faults: deque[str] = deque()
        self.seen: list[tuple[str, str, str]] = []
        self.missed: Callable[[], None] = lambda: None
        self.hung, self.released = threading.Event(), threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                store.put(self)

            def do_GET(self) -> None:
                store.get(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, key: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{key}?X-Amz-Signature=secret"

    def grant_put(self, key: str, size: int, sha256: bytes) -> artifact_pb2.SignedRequest:
        headers = {
            "content-length": str(size),
            "x-amz-checksum-sha256": base64.b64encode(sha256).decode(),
            "if-none-match": "*",
        }
        self.grants[key] = headers
        return self._signed("PUT", key, headers)

    def grant_get(self, key: str) -> artifact_pb2.SignedRequest:
        return self._signed("GET", key, {})

    def artifact(self, key: str, content: bytes, part_size: int = 0) -> artifact_pb2.Artifact:
        """Stores an object and answers it with a download; composite with `part_size`."""
        self.objects[key] = content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if part_size:
            parts = [hashlib.sha256(content[at : at + part_size]).digest() for at in range(0, len(content), part_size)]
            digest = f"sha256-parts:{hashlib.sha256(b''.join(parts)).hexdigest()}/{len(parts)}"
        return artifact_pb2.Artifact(
            key=key, digest=digest, size_bytes=len(content), part_size_bytes=part_size, download=self.grant_get(key)
        )

    def _signed(self, method: str, key: str, headers: dict[str, str]) -> artifact_pb2.SignedRequest:
        request = artifact_pb2.SignedRequest(method=method, url=self.url(key), headers=headers)
        request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(minutes=5))
        return request

    def _fault(self) -> str:
        return self.faults.popleft() if self.faults else "none"

    def put(self, handler: BaseHTTPRequestHandler) -> None:
        key, fault = handler.path.partition("?")[0].lstrip("/"), self._fault()
        self.seen.append(("PUT", key, fault))
        length = int(handler.headers["content-length"])
        if fault == "early":
            handler.close_connection = True
            self._answer(handler, 503, b"<Error><Code>SlowDown</Code></Error>")
            return
        body = handler.rfile.read(length // 2 if fault == "cut" else length)
        if fault == "hang":
            self.hung.set()
            self.released.wait(30)
            handler.close_connection = True
        elif fault == "cut":
            handler.close_connection = True
        elif fault != "none":
            self._answer(handler, int(fault), b"<Error><Code>Ordered</Code></Error>")
        elif any(handler.headers.get(name) != value for name, value in self.grants[key].items()):
            self._answer(handler, 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        elif base64.b64encode(hashlib.sha256(body).digest()).decode() != handler.headers["x-amz-checksum-sha256"]:
            self._answer(handler, 400, b"<Error><Code>BadDigest</Code></Error>")
        elif key in self.objects:
            self._answer(handler, 412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            self.objects[key] = body
            self._answer(handler, 200, b"")

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        key, fault = handler.path.partition("?")[0].lstrip("/"), self._fault()
        wanted = handler.headers.get("range", "")
        self.seen.append(("GET", wanted, fault))
        if fault in ("403", "503"):
            self._answer(handler, int(fault), b"<Error><Code>Ordered</Code></Error>")
            return
        content = self.objects.get(key)
        if content is None:
            self.missed()
            self._answer(handler, 404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or len(content)), len(content) - 1)
        body = content[start : end + 1]
        if fault == "rot":
            body = bytes(byte ^ 1 for byte in body)
        handler.send_response(206 if wanted else 200)
        if wanted:
            handler.send_header("content-range", f"bytes {start}-{end}/{len(content)}")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if fault == "cut":
            body = body[: len(body) // 2]
            handler.close_connection = True
        handler.wfile.write(body)

    def _answer(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
