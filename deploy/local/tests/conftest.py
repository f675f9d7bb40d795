from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.tests.lines import Lines
from trainnet.local.process import Guard
from trainnet.local.stack import LocalStack


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(scope="module")
def said() -> Lines:
    return Lines()


@pytest.fixture(scope="module")
def infrastructure(tmp_path_factory: pytest.TempPathFactory, said: Lines) -> Iterator[LocalStack]:
    """The real NATS server and object store."""
    folder: Path = tmp_path_factory.mktemp("data")
    with LocalStack(folder, infrastructure_only=True, say=said) as stack:
        yield stack
        stack.kill_all()
