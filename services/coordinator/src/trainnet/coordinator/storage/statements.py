"""The everyday statements: one row by its columns, a compare-and-set, an insert.

Building an expression and its cache key costs SQLAlchemy more than SQLite needs to run it, so each shape of statement
is built once and only its parameters change.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Delete, Executable, Insert, Row, Select, Table, Update, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from trainnet.coordinator.storage.database import Transaction


def _conditions(table: Table, names: tuple[str, ...], lists: frozenset[str]) -> list[Any]:
    return [
        table.c[name].in_(bindparam(f"by_{name}", expanding=True))
        if name in lists
        else table.c[name] == bindparam(f"by_{name}")
        for name in names
    ]


@cache
def _select(table: Table, names: tuple[str, ...], lists: frozenset[str], lock: bool) -> Select[Any]:
    query = select(table).where(*_conditions(table, names, lists))
    return query.with_for_update() if lock else query


@cache
def _update(table: Table, names: tuple[str, ...], lists: frozenset[str], values: tuple[str, ...]) -> Update:
    return (
        update(table)
        .where(*_conditions(table, names, lists))
        .values({name: bindparam(f"new_{name}") for name in values})
    )


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


@cache
def _insert_new(table: Table, key: str, dialect: str) -> Executable:
    insert_into: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Executable = insert_into(table).on_conflict_do_nothing(index_elements=[key])
    return statement


@cache
def _delete(table: Table, names: tuple[str, ...], lists: frozenset[str]) -> Delete:
    return delete(table).where(*_conditions(table, names, lists))


def _lists(by: Mapping[str, Any]) -> frozenset[str]:
    """Columns that may have one of several values."""
    return frozenset(name for name, value in by.items() if isinstance(value, (tuple, list, set, frozenset)))


def _parameters(by: Mapping[str, Any]) -> dict[str, Any]:
    lists = _lists(by)
    return {f"by_{name}": list(value) if name in lists else value for name, value in by.items()}


async def fetch(tx: Transaction, table: Table, *, lock: bool = False, **by: Any) -> Row[Any] | None:
    """The row whose columns have these values, or None; a tuple means any of its values. `lock` locks it on databases
    that lock rows."""
    return await tx.one(_select(table, tuple(by), _lists(by), lock), _parameters(by))


async def fetch_all(tx: Transaction, table: Table, **by: Any) -> list[Row[Any]]:
    """All such rows, in no order."""
    return await tx.all(_select(table, tuple(by), _lists(by), False), _parameters(by))


async def change(tx: Transaction, table: Table, by: Mapping[str, Any], **values: Any) -> bool:
    """Sets columns where the columns in `by` have these values: whether exactly one row was there. With a state among
    `by` this is the compare-and-set of this code base."""
    statement = _update(table, tuple(by), _lists(by), tuple(values))
    parameters = _parameters(by) | {f"new_{name}": value for name, value in values.items()}
    return (await tx.execute(statement, parameters)).rowcount == 1


async def add(tx: Transaction, table: Table, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Inserts one row or several of the same columns."""
    await tx.execute(_insert(table), values)


async def add_new(tx: Transaction, table: Table, values: Mapping[str, Any], *, key: str) -> None:
    """Inserts a row unless there is one with the same value of the unique column `key`."""
    await tx.execute(_insert_new(table, key, tx.dialect), values)


async def remove(tx: Transaction, table: Table, **by: Any) -> None:
    """Deletes the rows whose columns have these values."""
    await tx.execute(_delete(table, tuple(by), _lists(by)), _parameters(by))
