"""Real NATS, SeaweedFS and PostgreSQL for the whole session; a coordinator and a database for each test."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import DATABASE, Scene, settings_for
from services.coordinator.tests.support import environment, store_of
from tests.support.postgres import PostgresServer
from trainnet.coordinator.storage.migrate import migrate
from trainnet.coordinator.storage.opening import open_database
from trainnet.local.stack import LocalStack
from trainnet.runtime.store import ObjectStore


@pytest.fixture(scope="session")
def infrastructure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("stack"), infrastructure_only=True) as stack:
        yield stack
        stack.kill_all()


@pytest.fixture(scope="session")
def store(infrastructure: LocalStack) -> Iterator[ObjectStore]:
    with store_of(infrastructure) as store:
        store.ensure_bucket()
        yield store


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / DATABASE
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The same on the server."""
    postgres.create("template")
    _migrate(postgres.url("template"))
    return "template"


def _migrate(url: str) -> None:
    async def make() -> None:
        database = open_database(url)
        await migrate(database)
        await database.close()

    asyncio.run(make())


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database of this test's own: each test that asks for it, for `scene` or for `coordinator` runs on both.

    `pytest.mark.parametrize("database", ["sqlite"], indirect=True)` chooses one.
    """
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / DATABASE)
        yield f"sqlite:///{tmp_path / DATABASE}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"test-{secrets.token_hex(6)}"
    server.create(name, template=request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
async def scene(infrastructure: LocalStack, store: ObjectStore, database: str, tmp_path: Path) -> AsyncIterator[Scene]:
    settings = settings_for(tmp_path, environment(infrastructure, tmp_path), database_url=database)
    scene = Scene(settings, store)
    yield scene
    await scene.close()


@pytest.fixture
async def coordinator(infrastructure: LocalStack, database: str, tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with Coordinator(infrastructure, tmp_path, database_url=database) as running:
        yield running
