from collections.abc import Iterator

import pytest

from tests.support.command import Command
from tests.support.stacks import Stack, running

KEEP_ROUNDS = 2


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all that only uses it."""
    with running(tmp_path_factory.mktemp("stack"), workers=2, keep_rounds=KEEP_ROUNDS) as stack:
        yield stack


@pytest.fixture(scope="session")
def trainnet(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(stack.local.data_dir, tmp_path_factory.mktemp("home"))
