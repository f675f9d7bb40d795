"""SQLite: the database of a coordinator that is alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from trainnet.coordinator.storage.database import Database, Transaction

_WRITE = "trainnet_write"


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
            yield Transaction(connection, writes=False)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        # SQLite has one writer; queueing here is fair, where its own lock polls.
        async with self._writing:
            with self._connection().begin():
                transaction = Transaction(self._connection(), writes=True)
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

    async def time(self) -> float:
        return time.time()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()
