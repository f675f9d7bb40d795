"""The database: short transactions, one writer at a time on SQLite, and effects that happen only after a commit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, Executable, Row, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

WRITE = "trainnet_write"


@dataclass
class Effects:
    """What others must hear of once a transaction is committed. Losing one costs latency, never correctness."""

    workers_wanted: bool = False
    """Tasks for workers became ready, or slots free."""
    aggregators_wanted: bool = False
    outbox_filled: bool = False
    changed: set[str] = field(default_factory=set)
    """Names of jobs and data sets whose watchers should look again."""
    verdicts: list[tuple[str, int, bool, str]] = field(default_factory=list)
    """(worker, fence, accepted, message) of checked updates."""
    cancelled: list[tuple[str, int, str]] = field(default_factory=list)
    """(worker, fence, reason) of attempts that must stop."""


class Transaction:
    """One open transaction; everything goes through `execute` and its two short forms."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect.name
        self.effects = Effects()

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self._connection.execute(statement, parameters)

    async def one(self, statement: Executable) -> Row[Any] | None:
        """The first row, or None."""
        return (await self._connection.execute(statement)).first()

    async def all(self, statement: Executable) -> list[Row[Any]]:
        return list((await self._connection.execute(statement)).all())

    async def changed(self, statement: Executable) -> bool:
        """Whether the statement hit exactly one row: the compare-and-set of this code base."""
        return (await self._connection.execute(statement)).rowcount == 1


class Database:
    """Opened by `open_database`. `on_commit` hears the effects of each committed transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        self._writing = asyncio.Lock()
        self._writer: AsyncConnection | None = None
        self.on_commit: Callable[[Effects], None] = lambda effects: None

    @property
    def engine(self) -> AsyncEngine:
        return self._engine

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A consistent snapshot."""
        async with self._engine.connect() as connection:
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Commits at the end, rolls back on an exception. Keep the network out of it: others wait."""
        if not self._sqlite:
            async with self._engine.begin() as connection:
                transaction = Transaction(connection)
                yield transaction
        else:
            # SQLite has one writer; queueing here is fair, where its own lock polls.
            async with self._writing:
                if self._writer is None:
                    connection = await self._engine.connect()
                    self._writer = await connection.execution_options(**{WRITE: True})
                async with self._writer.begin():
                    transaction = Transaction(self._writer)
                    yield transaction
        self.on_commit(transaction.effects)

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()
        await self._engine.dispose()


def open_database(url: str) -> Database:
    """An engine with the durability that DESIGN 5 asks for."""
    if make_url(url).get_backend_name() != "sqlite":
        return Database(create_async_engine(url, pool_size=10, pool_pre_ping=True))
    engine = create_async_engine(url, pool_size=8, connect_args={"timeout": 30})

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions by itself: reads begin deferred, writes immediate (below).
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        immediate = connection.get_execution_options().get(WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return Database(engine)
