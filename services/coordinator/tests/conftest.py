"""Real NATS and SeaweedFS for the whole session; a coordinator and a database for each test."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import DATABASE, Scene, settings_for
from services.coordinator.tests.support import environment, store_of
from trainnet.coordinator.storage.database import open_database
from trainnet.coordinator.storage.migrate import migrate
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


@pytest.fixture(scope="session")
def template(infrastructure: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows, to be copied: migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("template")
    database = open_database(settings_for(folder, environment(infrastructure, folder)).database_url)

    async def make() -> None:
        await migrate(database)
        await database.close()

    asyncio.run(make())
    return folder / DATABASE


@pytest.fixture
async def scene(infrastructure: LocalStack, store: ObjectStore, template: Path, tmp_path: Path) -> AsyncIterator[Scene]:
    shutil.copy(template, tmp_path / DATABASE)
    scene = Scene(settings_for(tmp_path, environment(infrastructure, tmp_path)), store)
    yield scene
    await scene.close()
