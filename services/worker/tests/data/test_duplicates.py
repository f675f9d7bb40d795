"""Repeated rows are found whatever they hold and however they come."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from trainnet.worker.trainer.data.duplicates import DuplicateScan

_TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.just("x" * 70_000))
_ROWS = st.lists(st.tuples(_TEXT, st.integers(-2, 2), st.binary(max_size=2)), min_size=1, max_size=60)


@given(_ROWS, st.integers(1, 4))
def test_every_repetition_is_counted(rows: list[tuple[str | None, int, bytes]], pieces: int) -> None:
    table = pa.table({"a": [row[0] for row in rows], "b": [row[1] for row in rows], "c": [row[2] for row in rows]})
    table = table.cast(pa.schema({"a": pa.string(), "b": pa.int64(), "c": pa.binary()}))
    scan = DuplicateScan()
    for batch in table.to_batches(max_chunksize=max(1, len(rows) // pieces)):
        scan.add(batch)
    assert scan.result() == (sum(count - 1 for count in Counter(rows).values()), len(rows))


def test_values_are_told_apart() -> None:
    values = [f"{prefix}{number}" for prefix in ("", " ", "a", "\0") for number in range(50_000)]
    scan = DuplicateScan()
    scan.add(pa.record_batch({"a": pa.array(values), "b": pa.array(values[::-1])}))
    scan.add(pa.record_batch({"a": pa.array(values), "b": pa.array(values)}))
    assert scan.result() == (0, 400_000)
    scan.add(pa.record_batch({"a": pa.array(values[:7]).dictionary_encode(), "b": pa.array(values[::-1][:7])}))
    assert scan.result() == (7, 400_007)
