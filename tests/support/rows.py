"""A look into the coordinator's database from outside, read-only: what is true, whatever anybody says."""

import asyncio
import itertools
import re
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url

FILE = "coordinator.db"
SECONDS = 10.0


class Rows:
    """Reads the database of a stack. Each query sees the newest commit; nothing is ever locked for long."""

    def __init__(self, data_dir: Path, database: str = "") -> None:
        """`database`: URL of the PostgreSQL database, where it is not the file in the data folder."""
        self._uri = f"file:{data_dir / FILE}?mode=ro"
        self._url = make_url(database) if database else None

    def all(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of a query whose values are marked by question marks."""
        if self._url is not None:
            return asyncio.run(self._from_server(query, values))
        # A connection of its own for each query: one that is kept would outlive a kill of the only writer.
        connection = sqlite3.connect(self._uri, uri=True, timeout=SECONDS)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

    async def _from_server(self, query: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        assert self._url is not None
        numbers = itertools.count(1)
        connection = await asyncpg.connect(
            host=self._url.query.get("host", self._url.host),
            user=self._url.username,
            database=self._url.database,
            timeout=SECONDS,
            command_timeout=SECONDS,
        )
        try:
            numbered = re.sub(r"\?", lambda _: f"${next(numbers)}", query)
            return [dict(row) for row in await connection.fetch(numbered, *values)]
        finally:
            await connection.close()

    def one(self, query: str, *values: Any) -> dict[str, Any] | None:
        found = self.all(query, *values)
        return found[0] if found else None

    # --- the questions that faults ask ---

    def attempts(self, job: str, kind: str, *states: str) -> list[dict[str, Any]]:
        """Attempts at a kind of task of a job that are in one of the states, by fence."""
        marks = ", ".join("?" * len(states))
        return self.all(
            "SELECT attempts.*, tasks.job, tasks.round, tasks.shard, tasks.subject, tasks.state AS task_state"
            " FROM attempts JOIN tasks ON tasks.id = attempts.task"
            f" WHERE tasks.job = ? AND tasks.kind = ? AND attempts.state IN ({marks}) ORDER BY fence",
            job,
            kind,
            *states,
        )

    def attempt(self, fence: int) -> dict[str, Any]:
        found = self.one(
            "SELECT attempts.*, tasks.job, tasks.round, tasks.shard, tasks.kind, tasks.state AS task_state"
            " FROM attempts JOIN tasks ON tasks.id = attempts.task WHERE fence = ?",
            fence,
        )
        assert found is not None, f"no attempt has the fence {fence}"
        return found

    def round_state(self, job: str, number: int) -> str:
        found = self.one("SELECT state FROM rounds WHERE job = ? AND number = ?", job, number)
        return "" if found is None else str(found["state"])

    def job_state(self, job: str) -> str:
        found = self.one("SELECT state FROM jobs WHERE id = ?", job)
        return "" if found is None else str(found["state"])
