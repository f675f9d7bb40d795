"""Which database a URL names."""

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from trainnet.coordinator.storage.database import Database
from trainnet.coordinator.storage.embedded import EmbeddedDatabase
from trainnet.coordinator.storage.server import ServerDatabase


class UnknownDatabase(ValueError):
    """No URL of a database that can be used."""


def open_database(url: str) -> Database:
    """`sqlite:///file` or `postgresql://user:password@host/database`. Raises UnknownDatabase; connects to nothing."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UnknownDatabase("it must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE") from None
    match parsed.get_backend_name():
        case "sqlite":
            return EmbeddedDatabase(str(parsed.set(drivername="sqlite")))
        case "postgresql":
            try:
                return ServerDatabase(parsed.set(drivername="postgresql+asyncpg"))
            except ModuleNotFoundError:
                raise UnknownDatabase(
                    "PostgreSQL needs its driver: pip install 'trainnet-coordinator[postgresql]'"
                ) from None
        case other:
            raise UnknownDatabase(f"{other} is none: it must be sqlite:///FILE or postgresql://...")
