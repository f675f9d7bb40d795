import dataclasses
import json
import stat
from pathlib import Path

import nkeys
import pytest

from trainnet.local.errors import DataFolderUnusable
from trainnet.local.secrets import load_or_create


def test_the_first_start_makes_them_and_later_ones_keep_them(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    assert load_or_create(tmp_path) == first
    values = list(dataclasses.asdict(first).values())
    assert len(set(values)) == len(values)


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    load_or_create(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    load_or_create(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets.json"]


def test_a_secret_that_an_older_version_did_not_know_is_added(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    path = tmp_path / "secrets.json"
    older = json.loads(path.read_text())
    del older["join_token"]
    path.write_text(json.dumps(older))
    second = load_or_create(tmp_path)
    assert second.join_token != first.join_token
    assert dataclasses.replace(second, join_token=first.join_token) == first
    assert load_or_create(tmp_path) == second


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_unreadable_ones_are_never_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    with pytest.raises(DataFolderUnusable, match=r"secrets\.json: cannot be read"):
        load_or_create(tmp_path)
    assert path.read_text() == text


def test_the_callout_seed_signs(tmp_path: Path) -> None:
    secrets = load_or_create(tmp_path)
    assert secrets.nats_callout_seed.startswith("SA")
    assert secrets.nats_callout_public_key.startswith("A")
    pair = nkeys.from_seed(secrets.nats_callout_seed.encode())
    assert pair.verify(b"claims", pair.sign(b"claims"))


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    secrets = load_or_create(tmp_path)
    assert not any(value in repr(secrets) for value in dataclasses.asdict(secrets).values())
