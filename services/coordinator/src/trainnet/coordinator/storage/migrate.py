"""Brings the database to the newest schema at start-up; replicas that start together take turns."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from trainnet.coordinator.storage.database import Database

LOCK = 7_245_001  # any number that nothing else in the database locks by


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(database: Database) -> None:
    """On SQLite the immediate transaction is the lock, on PostgreSQL an advisory one."""
    await database.run_sync(_upgrade)
