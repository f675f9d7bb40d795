import json
import stat
from pathlib import Path

import pytest

from trainnet.local.endpoints import Endpoints, read


def endpoints(folder: Path) -> Endpoints:
    return Endpoints("127.0.0.1:1", "nats://127.0.0.1:2", "http://127.0.0.1:3", "secret", str(folder), {"nats": 7})


def test_programs_find_the_promised_keys(tmp_path: Path) -> None:
    endpoints(tmp_path).write()
    path = tmp_path / "endpoints.json"
    found = json.loads(path.read_text())
    assert {key: found[key] for key in ("grpc", "nats", "s3", "token")} == {
        "grpc": "127.0.0.1:1",
        "nats": "nats://127.0.0.1:2",
        "s3": "http://127.0.0.1:3",
        "token": "secret",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(tmp_path) == endpoints(tmp_path)


def test_removed_when_the_stack_has_stopped(tmp_path: Path) -> None:
    endpoints(tmp_path).write()
    endpoints(tmp_path).remove()
    endpoints(tmp_path).remove()
    with pytest.raises(FileNotFoundError):
        read(tmp_path)


def test_the_token_shows_in_no_repr(tmp_path: Path) -> None:
    assert "secret" not in repr(endpoints(tmp_path))
