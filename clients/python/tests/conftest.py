"""A real peer and a real store for each test, on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.python.tests.peer import TOKEN, Peer
from clients.python.tests.store import Store
from trainnet.client import Client, Retry

FAST = Retry(base=0.005, cap=0.05, first_contact=0.5, budget=10.0, watch=10.0)


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stack that happens to run on this machine is none of the tests' business."""
    monkeypatch.delenv("TRAINNET_COORDINATOR", raising=False)
    monkeypatch.delenv("TRAINNET_TOKEN", raising=False)
    monkeypatch.setenv("TRAINNET_DATA", str(tmp_path / "no-stack"))


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as store:
        yield store


@pytest.fixture
def peer(store: Store) -> Iterator[Peer]:
    with Peer(store) as peer:
        yield peer


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with Client(peer.address, TOKEN, retry=FAST) as client:
        yield client


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,a\n2,a\n3,b\n", encoding="utf-8")
    return path
