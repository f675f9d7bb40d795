"""The database: short transactions, one writer at a time on SQLite, and effects that happen only after a commit."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Row, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from trainnet.runtime.errors import Unavailable

_WRITE = "trainnet_write"
_MET_ANOTHER = frozenset({"40001", "40P01"})
"""PostgreSQL's codes for a transaction that was undone because it met another one."""


class Conflict(Unavailable):
    """Two changes met and this one was undone; try again."""

    reason = "CONFLICT"


@contextmanager
def undone() -> Iterator[None]:
    """Tells a transaction that PostgreSQL undid for the sake of another one from one that is wrong."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _MET_ANOTHER:
            raise Conflict from error
        raise


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
    """One open transaction; everything goes through `execute` and its short forms."""

    def __init__(self, connection: AsyncConnection | Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect.name
        self.effects = Effects()

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        if isinstance(self._connection, Connection):
            return self._connection.execute(statement, parameters)
        return await self._connection.execute(statement, parameters)

    async def one(self, statement: Executable, parameters: Any = None) -> Row[Any] | None:
        """The first row, or None."""
        return (await self.execute(statement, parameters)).first()

    async def all(self, statement: Executable, parameters: Any = None) -> list[Row[Any]]:
        return list((await self.execute(statement, parameters)).all())

    async def changed(self, statement: Executable) -> bool:
        """Whether the statement hit exactly one row: the compare-and-set of this code base."""
        return (await self.execute(statement)).rowcount == 1


class Database(ABC):
    """Opened by `open_database`. `on_commit` hears the effects of each committed transaction."""

    def __init__(self) -> None:
        self.on_commit: Callable[[Effects], None] = lambda effects: None

    @abstractmethod
    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A consistent snapshot."""

    @abstractmethod
    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at the end, rolls back on an exception. Keep the network out of it: others wait.

        Raises Conflict when the database undid it for the sake of another transaction.
        """

    @abstractmethod
    async def run_sync(self, work: Callable[[Connection], None]) -> None:
        """Runs `work` in a write transaction, for tools that know no asyncio."""

    @abstractmethod
    async def close(self) -> None: ...


class ServerDatabase(Database):
    """PostgreSQL: a pool of connections, rows locked where decisions meet."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._engine = create_async_engine(url, pool_size=10, pool_pre_ping=True)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with self._engine.connect() as connection:
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        with undone():
            async with self._engine.begin() as connection:
                transaction = Transaction(connection)
                yield transaction
        self.on_commit(transaction.effects)

    async def run_sync(self, work: Callable[[Connection], None]) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()


class EmbeddedDatabase(Database):
    """SQLite, called right from the event loop.

    A statement here takes some ten microseconds and a commit, disk included, some hundred; handing them to a thread
    and back, as asyncio drivers do, took ten times that and most of a round. The price is that a slow disk holds up
    the loop: whoever has one, or more than a few hundred workers, takes PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._engine = create_engine(url, pool_size=8, max_overflow=-1)
        self._writing = asyncio.Lock()
        self._writer: Connection | None = None

        @event.listens_for(self._engine, "connect")
        def configure(connection: Any, _: ConnectionPoolEntry) -> None:
            # The driver must not begin transactions by itself: reads begin deferred, writes immediate (below).
            connection.isolation_level = None
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(self._engine, "begin")
        def begin(connection: Connection) -> None:
            immediate = connection.get_execution_options().get(_WRITE)
            cursor = connection.connection.cursor()
            cursor.execute("BEGIN IMMEDIATE" if immediate else "BEGIN")
            cursor.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        with self._engine.connect() as connection:
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        # SQLite has one writer; queueing here is fair, where its own lock polls.
        async with self._writing:
            with self._connection().begin():
                transaction = Transaction(self._connection())
                yield transaction
            self.on_commit(transaction.effects)

    def _connection(self) -> Connection:
        if self._writer is None:
            self._writer = self._engine.connect().execution_options(**{_WRITE: True})
        return self._writer

    async def run_sync(self, work: Callable[[Connection], None]) -> None:
        async with self._writing:
            with self._connection().begin():
                work(self._connection())

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()


def open_database(url: str) -> Database:
    """The database that a URL names: `sqlite:///file`, or any that SQLAlchemy has an asyncio driver for."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return EmbeddedDatabase(str(parsed.set(drivername="sqlite")))
    return ServerDatabase(url)
