"""`trainnet up` when it cannot start: one clear line, exit code 1, nothing left behind."""

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from trainnet.local.commands import default_data_dir, up
from trainnet.local.lock import DataLock

app = typer.Typer()
app.command()(up)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, " ".join(result.output.split())


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, output = run("--data", str(tmp_path), "--grpc-port", str(port))
    assert code == 1
    assert f"port {port} (--grpc-port) is in use: stop what listens there, or choose another port" in output
    assert not (tmp_path / "endpoints.json").exists()


def test_a_folder_that_another_stack_uses(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    try:
        code, output = run("--data", str(tmp_path))
    finally:
        lock.release()
    assert code == 1
    assert "is in use by process" in output
    assert "choose another folder with --data" in output


def test_secrets_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    code, output = run("--data", str(tmp_path))
    assert code == 1
    assert "cannot be read as secrets" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("arguments", [("--workers", "-1"), ("--grpc-port", "70000"), ("--aggregators", "0")])
def test_values_out_of_range(tmp_path: Path, arguments: tuple[str, str]) -> None:
    code, output = run("--data", str(tmp_path / "new"), *arguments)
    assert code == 2
    assert arguments[0] in output
    assert not (tmp_path / "new").exists()


def test_where_the_data_lies_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINNET_DATA", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_data_dir() == Path("/home/somebody/.local/share/trainnet")
    monkeypatch.setenv("TRAINNET_DATA", "~/elsewhere")
    assert default_data_dir() == Path("/home/somebody/elsewhere")
