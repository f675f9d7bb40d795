"""PostgreSQL: the database that replicas of the coordinator share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trainnet.coordinator.storage.database import Conflict, Database, DatabaseAway, MadeAlready, Transaction

POOL = 10
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
"""A statement without an answer for so long has lost its server, or waits for a lock that nobody gives back."""
CLOSE_SECONDS = 2.0
"""How long close() lets transactions end that are under way."""

_MET_ANOTHER = frozenset({"40001", "40P01"})
_MADE_ALREADY = "23505"
_AWAY = ("08", "57P0", "53300", "28", "3D000")
"""Connections that broke, servers that stop or start, one that has no connection left, and one that lets nobody in."""


@contextmanager
def told_apart() -> Iterator[None]:
    """What may be tried again, told from what is wrong."""
    try:
        yield
    except (OSError, TimeoutError, PoolTimeout) as error:  # the driver's own, when it connects or waits
        raise DatabaseAway from error
    except Exception as error:
        code = str(getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or "")
        if code in _MET_ANOTHER:
            raise Conflict from error
        if code == _MADE_ALREADY:
            raise MadeAlready from error
        if code.startswith(_AWAY) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise DatabaseAway from error
        raise


class ServerDatabase(Database):
    """A pool of connections; rows are locked where decisions meet."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._url = url
        self._open = 0
        self._idle = asyncio.Event()
        self._engine = self._connecting(statement_seconds=STATEMENT_SECONDS)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _connecting(self, statement_seconds: float | None) -> AsyncEngine:
        # A ping for each use costs less than a call that fails on each connection that a restart of the server broke.
        return create_async_engine(
            self._url,
            pool_size=POOL,
            pool_timeout=STATEMENT_SECONDS,
            pool_pre_ping=True,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": statement_seconds},
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        with self._counted(), told_apart():
            async with self._reading.connect() as connection:
                yield Transaction(connection, writes=False)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        with self._counted(), told_apart():
            async with self._engine.begin() as connection:
                transaction = Transaction(connection, writes=True)
                yield transaction
        self.on_commit(transaction.effects)

    async def run_sync(self, work: Callable[[Connection], None]) -> None:
        engine = self._connecting(statement_seconds=None)  # a migration takes as long as it takes
        try:
            with told_apart():
                async with engine.begin() as connection:
                    await connection.run_sync(work)
        finally:
            await engine.dispose()

    async def time(self) -> float:
        async with self.read() as tx:
            return float((await tx.execute(text("SELECT extract(epoch FROM clock_timestamp())"))).scalar_one())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._idle.set()

    async def close(self) -> None:
        # What a call left behind may still end its transaction; the pool forgets connections that are in use.
        self._idle.clear()
        if self._open:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._idle.wait()
            except TimeoutError:
                pass  # the server takes back what is not committed
        await self._engine.dispose()
