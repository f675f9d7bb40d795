"""Commands of other distributions: found by their entry points, loaded when called, harmless when broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainnet.cli.main import main


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[None]:
    """Three installed distributions: a function, a group, and one that cannot be imported."""
    (tmp_path / "plugged.py").write_text(
        "import typer\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def one() -> None: print('one was called')\n"
        "@app.command()\n"
        "def two(number: int) -> None: print(number + 1)\n"
        "def alone(name: str = 'nobody') -> None:\n"
        "    '''Greet.'''\n"
        "    print('hello', name)\n"
    )
    points = {"group": "plugged:app", "alone": "plugged:alone", "broken": "not_installed:app"}
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[trainnet.commands]\n{lines}")
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("plugged", None)


@pytest.mark.usefixtures("plugins")
def test_functions_and_groups_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alone", "--name", "you"]) == 0
    assert main(["group", "one"]) == 0
    assert main(["group", "two", "41"]) == 0
    assert capsys.readouterr().out == "hello you\none was called\n42\n"


@pytest.mark.usefixtures("plugins")
def test_a_broken_plugin_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broken", "anything"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: command 'broken' cannot be loaded (ModuleNotFoundError")
    assert line.endswith("install plugged again\n")
    assert main(["alone"]) == 0


@pytest.mark.usefixtures("plugins")
def test_help_lists_plugins_without_loading_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("alone", "group", "broken"))
    assert "plugged" not in sys.modules
