"""Lists in pages, newest first."""

import base64
import binascii
from typing import Any

from sqlalchemy import Row, Table, select, tuple_

from trainnet.coordinator.storage.database import Transaction
from trainnet.runtime.errors import InvalidArgument

DEFAULT_PAGE = 50


async def page_of(
    tx: Transaction, table: Table, page_size: int, page_token: str, *, without: tuple[str, ...] = ()
) -> tuple[list[Row[Any]], str]:
    """One page of a table with `id` and `created`, and the token of the next. A token is the last row's place, so
    that rows which come and go in between shift nothing. The rows lack the columns named by `without`."""
    size = page_size or DEFAULT_PAGE
    columns = [column for column in table.c if column.name not in without]
    query = select(*columns).order_by(table.c.created.desc(), table.c.id.desc()).limit(size + 1)
    if page_token:
        query = query.where(tuple_(table.c.created, table.c.id) < tuple_(*_parse(page_token)))
    rows = await tx.all(query)
    if len(rows) <= size:
        return rows, ""
    return rows[:size], token_of(rows[size - 1])


def token_of(row: Row[Any]) -> str:
    """The token of the page that begins after this row."""
    return base64.urlsafe_b64encode(f"{row.created!r} {row.id}".encode()).decode()


def _parse(token: str) -> tuple[float, str]:
    try:
        created, identifier = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        return float(created), identifier
    except (ValueError, binascii.Error):
        raise InvalidArgument("page_token is not one that a list answered", field="page_token") from None
