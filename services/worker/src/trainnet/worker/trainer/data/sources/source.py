"""What every format offers: columns with their Arrow types, and rows in file order, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from trainnet.worker.errors import TaskError

MAX_CELL = 64 << 20
"""Bytes that one value may have at most."""


@dataclass(frozen=True)
class Wanted:
    """Which columns to read, and what is known of them, so that they come in the cheapest form.

    A `coded` column may come dictionary-encoded, a column of `numbers` as float64, missing values as nulls.
    """

    columns: tuple[str, ...]
    coded: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()


class Source(Protocol):
    """A readable file."""

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """Columns with their types, in file order."""

    def batches(self, wanted: Wanted | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in file order, the wanted columns in the order they are wanted, or all of them.

        Raises TaskError naming the place that cannot be read.
        """


def check_names(names: Sequence[str]) -> None:
    """Raises TaskError where two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TaskError("TASK", f"column {twice[0]!r} appears twice; give each column a name of its own")


def select(columns: Mapping[str, pa.DataType], wanted: Wanted | None) -> tuple[str, ...]:
    """Names to read. Raises TaskError for one that is not there."""
    if wanted is None:
        return tuple(columns)
    absent = next((name for name in wanted.columns if name not in columns), None)
    if absent is not None:
        raise TaskError("TASK", f"the file has no column {absent!r}, which its inspection found; upload it again")
    return wanted.columns


def first_line(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
