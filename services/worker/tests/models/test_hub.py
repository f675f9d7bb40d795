from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models.hub import fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REMEDIES = "upload its folder with `trainnet models upload FOLDER`, or run a trusted worker with network"


class Hub:
    """Answers as the hub does to who reads a public model."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # its caller's name
                hub.asked.append(self.path)
                if self.path.startswith("/api/models/someone/model/"):
                    siblings = [{"rfilename": name} for name in hub.files]
                    self._answer(json.dumps({"id": "someone/model", "sha": COMMIT, "siblings": siblings}).encode())
                elif self.path.startswith(f"/someone/model/resolve/{COMMIT}/"):
                    self._answer(hub.files[self.path.rsplit("/", 1)[1]])
                else:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "RepoNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            do_HEAD = do_GET  # noqa: N815

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()
    yield found
    found.close()


def test_what_is_read_and_what_is_not(hub: Hub, tmp_path: Path) -> None:
    wanted = {"config.json": b"{}", "tokenizer.json": b"{}", "vocab.txt": b"a", "model.safetensors": bytes(9)}
    hub.files = {
        **wanted,
        "pytorch_model.bin": b"\x80",
        "modeling_evil.py": b"",
        "README.md": b"",
        "model-00001-of-00002.safetensors": b"",
    }
    assert fetch("someone/model@main", tmp_path / "model", hub.address) == COMMIT
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file()} == wanted
    assert not any("evil" in path or "pytorch" in path for path in hub.asked)
    assert "/revision/main" in hub.asked[0]


def test_pickles_alone(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"\x80"}
    with pytest.raises(TaskError, match="no safetensors on the hub, and pickles are never read"):
        fetch("someone/model@main", tmp_path, hub.address)


def test_nobody_of_that_name(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="the hub has no public model someone/else") as caught:
        fetch("someone/else", tmp_path, hub.address)
    assert caught.value.reason == "TASK"


def test_no_way_there(tmp_path: Path) -> None:
    # Nobody listens on the discard port, as on a machine without a network.
    with pytest.raises(TaskError, match=rf"the hub for someone/model@main \(ConnectError\): {REMEDIES}") as caught:
        fetch("someone/model@main", tmp_path, "http://127.0.0.1:9")
    assert caught.value.reason == "WORKER"
