"""A look into the coordinator's database from outside, read-only: what is true, whatever anybody says."""

import sqlite3
from pathlib import Path
from typing import Any

FILE = "coordinator.db"


class Rows:
    """Reads the database of a stack. Each query sees the newest commit; nothing is ever locked for long."""

    def __init__(self, data_dir: Path) -> None:
        self._uri = f"file:{data_dir / FILE}?mode=ro"

    def all(self, query: str, *values: Any) -> list[dict[str, Any]]:
        # A connection of its own for each query: one that is kept would outlive a kill of the only writer.
        connection = sqlite3.connect(self._uri, uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

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
