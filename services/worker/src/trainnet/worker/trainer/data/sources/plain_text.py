"""Plain text: its only column is `text`, its rows are runs of whole paragraphs of a few KiB.

A language model reads a row as one piece of running text, so rows are as long as shards allow: some thousands of rows
where the file is large enough, fewer and longer ones would leave shards without a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.sources.source import Wanted, select
from trainnet.worker.trainer.data.sources.text import check_is_text, first_line_not_utf8, not_utf8, open_text

_MIN_ROW, _MAX_ROW = 256, 4096
_ROWS = 512
_BATCH_ROWS = 1024


class PlainTextSource:
    """UTF-8 text."""

    def __init__(self, path: Path) -> None:
        check_is_text(path, "plain text")
        self._path = path
        self._target = min(_MAX_ROW, max(_MIN_ROW, path.stat().st_size // _ROWS))
        self.columns: dict[str, pa.DataType] = {"text": pa.string()}

    def batches(self, wanted: Wanted | None = None) -> Iterator[pa.RecordBatch]:
        """See Source."""
        select(self.columns, wanted)
        rows: list[str] = []
        for row in self._rows():
            rows.append(row)
            if len(rows) == _BATCH_ROWS:
                yield pa.RecordBatch.from_arrays([pa.array(rows, pa.string())], names=["text"])
                rows = []
        if rows:
            yield pa.RecordBatch.from_arrays([pa.array(rows, pa.string())], names=["text"])

    def _rows(self) -> Iterator[str]:
        """Ends a row behind the first empty line once it is long enough, behind any line at twice that length, and in
        the middle of a line where there is no other place."""
        parts: list[bytes] = []
        size = 0
        with open_text(self._path) as file:
            while line := file.readline(self._target):
                blank = not line.strip()
                parts.append(line)
                size += len(line)
                ends = line.endswith(b"\n")
                if (size >= self._target and blank) or (size >= 2 * self._target and ends) or size >= 4 * self._target:
                    whole, left = _cut(b"".join(parts))
                    yield from self._decode(whole)
                    parts, size = [left] if left else [], len(left)
            yield from self._decode(b"".join(parts))

    def _decode(self, data: bytes) -> Iterator[str]:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise not_utf8(first_line_not_utf8(self._path) or 1) from None
        if "\0" in text:
            raise TaskError("TASK", "the file is not plain text: it contains binary data")
        # Blanks between rows say nothing; those inside of a row are the text's own.
        text = text.replace("\r\n", "\n").strip("\n")
        if text.strip():
            yield text


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Where no line ends, cuts behind the last blank, else behind the last whole character."""
    if data.endswith(b"\n"):
        return data, b""
    at = data.rfind(b" ") + 1
    if at > len(data) // 2:
        return data[:at], data[at:]
    at = len(data)
    while at > len(data) - 4 and data[at - 1] & 0xC0 == 0x80:
        at -= 1
    if data[at - 1] >= 0xC0:
        at -= 1
    return data[:at], data[at:]
