"""A real object store for the tests: the runtime's fixtures, started once for this directory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainnet.runtime.store import ObjectStore

_SERVERS = Path(__file__).parents[2] / "runtime" / "tests" / "conftest.py"


def _servers() -> Any:
    spec = importlib.util.spec_from_file_location("runtime_test_servers", _SERVERS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """SeaweedFS, for the whole session."""
    server = _servers().Weed(tmp_path_factory.mktemp("weed"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(weed: Any) -> Iterator[ObjectStore]:
    with weed.store() as opened:
        yield opened
