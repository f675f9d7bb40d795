"""Real NATS and SeaweedFS for the whole session; a coordinator and a database for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.coordinator.tests.scene import Scene, settings_for
from services.coordinator.tests.support import Coordinator, environment, store_of
from trainnet.local.stack import LocalStack
from trainnet.runtime.store import ObjectStore


@pytest.fixture(scope="session")
def infrastructure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("stack"), infrastructure_only=True) as stack:
        yield stack


@pytest.fixture
async def coordinator(infrastructure: LocalStack, tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with Coordinator(infrastructure, tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def store(infrastructure: LocalStack) -> Iterator[ObjectStore]:
    with store_of(infrastructure) as store:
        store.ensure_bucket()
        yield store


@pytest.fixture
async def scene(infrastructure: LocalStack, store: ObjectStore, tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(settings_for(tmp_path, environment(infrastructure, tmp_path)), store)
    await scene.open()
    yield scene
    await scene.close()
