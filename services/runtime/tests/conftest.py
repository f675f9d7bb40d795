"""Real servers for the tests: nats-server and SeaweedFS, started once, on free ports."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectStore, StoreError

READY_SECONDS = 60.0


def binary(name: str) -> str:
    """A server's program: next to this Python, or on the path. Missing is an error, never a skip."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found is not None, f"{name} is not installed"
    return found


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in held]
    for holder in held:
        holder.close()
    return ports


def wait_until(ready: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what} not within {seconds} s"
        time.sleep(0.01)


class Server:
    """A child process that can be killed and started again on the same ports and data."""

    def __init__(self, command: list[str], log: Path, ready: Callable[[], bool], env: dict[str, str]) -> None:
        self._command, self._log, self._ready, self._env = command, log, ready, env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=subprocess.STDOUT)

        def up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            return self._ready()

        wait_until(up, self._command[0])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self.kill()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


class Weed(Server):
    """SeaweedFS as `weed mini`, private to this machine."""

    def __init__(self, base: Path) -> None:
        parts = ("master", "volume", "filer", "s3", "admin")
        names = [f"{part}.port{kind}" for part in parts for kind in ("", ".grpc")]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.endpoint = f"127.0.0.1:{ports['s3.port']}"
        self.credentials = Credentials("admin", secrets.token_urlsafe(24))
        config = base / "s3.json"
        identity = {
            "name": "admin",
            "credentials": [{"accessKey": "admin", "secretKey": self.credentials.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config.write_text(json.dumps({"identities": [identity]}))
        (base / "data").mkdir()
        keys = ("SIGNING_KEY", "SIGNING_READ_KEY", "FILER_SIGNING_KEY", "FILER_SIGNING_READ_KEY")
        env = {
            **os.environ,
            "HOME": str(base),
            "GOMEMLIMIT": "600MiB",
            **{f"WEED_JWT_{key}": secrets.token_hex(16) for key in keys},
        }
        command = [
            binary("weed"),
            f"-logdir={base}",
            "mini",
            f"-dir={base / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *[f"-{name}={port}" for name, port in ports.items()],
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-disableHttp",
            "-s3.autoCreateBucket=false",
            f"-s3.config={config}",
            f"-s3.localSocket={base}/s3.sock",
            f"-filer.localSocket={base}/filer.sock",
        ]
        super().__init__(command, base / "out.log", self._put_works, env)

    def store(self, patience: float = 30.0, **options: object) -> ObjectStore:
        return ObjectStore(self.credentials, endpoint=self.endpoint, patience=patience, **options)  # type: ignore[arg-type]

    def _put_works(self) -> bool:
        if not accepts(int(self.endpoint.rpartition(":")[2])):
            return False
        try:
            with self.store(patience=0.5) as store:
                store.ensure_bucket()
                store.put(".ready", b"1", create_only=False)
        except StoreError:
            return False
        return True


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    server = Weed(tmp_path_factory.mktemp("weed"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def store(weed: Weed) -> Iterator[ObjectStore]:
    with weed.store() as store:
        yield store


@pytest.fixture
def prefix() -> str:
    """A part of the bucket of the test's own."""
    return f"test-{secrets.token_hex(6)}/"


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return free_ports(1)[0]


@pytest.fixture
def new_server() -> type[Server]:
    """Makes a child process that a test may kill and start again."""
    return Server


@pytest.fixture
def port_open() -> Callable[[int], bool]:
    """Whether something listens on a port."""
    return accepts


@pytest.fixture
def server_binary() -> str:
    """The program of the NATS server."""
    return binary("nats-server")
