"""CSV. Columns come as text: what they hold is decided over the whole file, never from its first block."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import MISSING
from trainnet.worker.trainer.data.sources.source import Wanted, check_names, first_line, select
from trainnet.worker.trainer.data.sources.text import MAX_LINE, check_is_text, first_line_not_utf8, not_utf8, open_text

_HEAD = 1 << 20


class CsvSource:
    """Comma, semicolon or tab separated values with a header line."""

    def __init__(self, path: Path) -> None:
        check_is_text(path, "CSV")
        self._path = path
        self._delimiter, header, self._blank = _header(path)
        names = [name.strip() or f"column_{number}" for number, name in enumerate(header, start=1)]
        check_names(names)
        if all(_is_number(name) for name in names):
            raise TaskError(
                "TASK", f"line 1 holds numbers ({', '.join(names[:3])}, …) instead of column names; add a header line"
            )
        self.columns: dict[str, pa.DataType] = dict.fromkeys(names, pa.string())

    def batches(self, wanted: Wanted | None = None) -> Iterator[pa.RecordBatch]:
        """See Source."""
        names = select(self.columns, wanted)
        done = 0
        try:
            for batch in self._read(names, wanted or Wanted(names)):
                done += batch.num_rows
                yield batch
        except pa.ArrowInvalid as error:
            if not (wanted and wanted.numbers and "conversion error to double" in str(error)):
                raise
        else:
            return
        # A missing value with blanks around it, which only the slower reading as text understands.
        for batch in self._read(names, Wanted(names)):
            skipped = min(done, batch.num_rows)
            done -= skipped
            if skipped < batch.num_rows:
                yield batch.slice(skipped)

    def _read(self, names: tuple[str, ...], wanted: Wanted) -> Iterator[pa.RecordBatch]:
        bad: list[Any] = []

        def on_invalid(row: Any) -> str:
            bad.append(row)
            return "error"

        def kind(name: str) -> pa.DataType:
            if name in wanted.numbers:
                return pa.float64()
            return pa.dictionary(pa.int32(), pa.string()) if name in wanted.coded else pa.string()

        try:
            reader = pa_csv.open_csv(
                self._path,
                read_options=pa_csv.ReadOptions(
                    use_threads=False,
                    block_size=MAX_LINE,
                    column_names=list(self.columns),
                    skip_rows_after_names=self._blank + 1,
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=on_invalid
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types={name: kind(name) for name in names},
                    include_columns=names,
                    # Text stays as it is, `NA` too: a reader of categories or labels decides.
                    strings_can_be_null=False,
                    null_values=MISSING,
                ),
            )
            with reader:
                yield from reader
        except pa.ArrowInvalid as error:
            if "conversion error to double" in str(error):
                raise
            raise self._error(error, bad[0] if bad else None) from error

    def _error(self, error: Exception, row: Any) -> TaskError:
        message = first_line(error)
        if row is not None and row.number is not None:
            line = self._line_of(row.number)
            return TaskError(
                "TASK",
                f"line {line} has {row.actual_columns} values, the header has {row.expected_columns}; mend the line",
            )
        line_not_utf8 = first_line_not_utf8(self._path) if "invalid UTF8" in message else None
        if line_not_utf8 is not None:
            return not_utf8(line_not_utf8)
        if "Empty CSV" in message:
            return TaskError("TASK", "the file has no rows")
        if "straddling" in message:
            return TaskError("TASK", "a line is longer than 4 MiB, or a quote is never closed; mend it")
        return TaskError("TASK", f"the CSV file cannot be read: {message}")

    def _line_of(self, row: int) -> int:
        """The line in which a row begins: values may run over several lines, and empty lines are no rows."""
        with open_text(self._path) as file, io.TextIOWrapper(file, "utf-8", "replace", newline="") as text:
            records = csv.reader(text, delimiter=self._delimiter)
            left, begins = row - self._blank, 1
            try:
                for record in records:
                    left -= bool(record)
                    if left == 0:
                        return begins
                    begins = records.line_num + 1
            except csv.Error:
                pass  # a value that Python finds too long: the number of the row is near enough
        return row


def _header(path: Path) -> tuple[str, list[str], int]:
    """The delimiter, the names, and the empty lines before them."""
    with open_text(path) as file:
        # The window may end inside of a character; the header does not.
        text = file.read(_HEAD).decode("utf-8", errors="replace")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    try:
        blank, record = next(
            ((number, row) for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter)) if row),
            (0, None),
        )
    except csv.Error as error:
        raise TaskError("TASK", f"line 1 cannot be read as a CSV header: {error}") from error
    if record is None:
        raise TaskError("TASK", "the file has no lines")
    if any("\ufffd" in name for name in record):
        raise not_utf8(1)
    return delimiter, record, blank


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
