"""The database as use cases see it: short transactions, and effects that happen only after a commit."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from trainnet.runtime.errors import Unavailable


class NotNow(Unavailable):
    """The database did not take this; try again."""

    reason = "NOT_NOW"


class Conflict(NotNow):
    """Two changes met and this one was undone; try again."""

    reason = "CONFLICT"


class MadeAlready(NotNow):
    """Another change made the same thing at the same moment and this one was undone; try again."""

    reason = "CONFLICT"


class DatabaseAway(NotNow):
    """The database cannot be reached; try again. A commit that was under way may have happened."""

    reason = "DATABASE_UNAVAILABLE"


@dataclass
class Effects:
    """What others must hear of once a transaction is committed. Losing one costs latency, never correctness."""

    workers_wanted: bool = False
    """Tasks for workers became ready, or slots free."""
    aggregators_wanted: bool = False
    outbox_filled: bool = False
    timers_set: bool = False
    """A round has to be looked at at some time that this replica may not know of yet."""
    changed: set[str] = field(default_factory=set)
    """Names of jobs, data sets and workers: who follows them should look again."""
    verdicts: list[tuple[str, int, bool, str]] = field(default_factory=list)
    """(worker, fence, accepted, message) of checked updates."""
    cancelled: list[tuple[str, int, str]] = field(default_factory=list)
    """(worker, fence, reason) of attempts that must stop."""

    @property
    def concern_others(self) -> bool:
        """Whether replicas beside the one that committed have something to do."""
        return bool(self.workers_wanted or self.aggregators_wanted or self.changed or self.verdicts or self.cancelled)

    def add(self, other: "Effects") -> None:
        self.workers_wanted |= other.workers_wanted
        self.aggregators_wanted |= other.aggregators_wanted
        self.outbox_filled |= other.outbox_filled
        self.timers_set |= other.timers_set
        self.changed |= other.changed
        self.verdicts += other.verdicts
        self.cancelled += other.cancelled


class Transaction:
    """One open transaction; everything goes through `execute` and its short forms."""

    def __init__(self, connection: AsyncConnection | Connection, *, writes: bool) -> None:
        self._connection = connection
        self.writes = writes
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
        """A consistent snapshot. Raises DatabaseAway."""

    @abstractmethod
    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at the end, rolls back on an exception. Keep the network out of it: others wait.

        Raises Conflict when the database undid it for the sake of another transaction, MadeAlready when another one
        made the same row, DatabaseAway when it was lost.
        """

    @abstractmethod
    async def run_sync(self, work: Callable[[Connection], None]) -> None:
        """Runs `work` in a write transaction, for tools that know no asyncio."""

    @abstractmethod
    async def time(self) -> float:
        """Unix seconds by the clock that all replicas of this database share."""

    @abstractmethod
    async def close(self) -> None: ...
