"""JSON and JSONL: objects of plain values, one after the other, in constant memory.

Like those of a CSV, columns come as text, numbers as they are spelt: what they hold is decided over the whole file.
Arrow's own reader fixes the types by its first block, so a number that turns into text later would be an error there.
"""

from __future__ import annotations

import codecs
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.sources.source import Wanted, select
from trainnet.worker.trainer.data.sources.text import MAX_LINE, check_is_text, first_line_not_utf8, not_utf8, open_text

MAX_COLUMNS = 10_000

_BATCH_ROWS = 8_192
_BATCH_BYTES = 8 << 20
_PIECE = 1 << 20
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_Objects = Iterator[tuple[int, int, dict[str, Any]]]


class _JsonSource(ABC):
    """Objects with their place; what a place is (line, element) is the format's."""

    name: str
    place: str

    def __init__(self, path: Path, names: Sequence[str] | None) -> None:
        check_is_text(path, self.name)
        self._path = path
        if names is None:
            names = self._find_names()
        self.columns: dict[str, pa.DataType] = dict.fromkeys(names, pa.string())

    def batches(self, wanted: Wanted | None = None) -> Iterator[pa.RecordBatch]:
        """See Source."""
        names = select(self.columns, wanted)
        values: list[list[str | None]] = [[] for _ in names]
        rows, size = 0, 0
        for place, length, found in self._objects():
            for name, column in zip(names, values, strict=True):
                value = found.get(name)
                column.append(value if value.__class__ is str or value is None else self._plain(value, name, place))
            rows, size = rows + 1, size + length
            if rows == _BATCH_ROWS or size >= _BATCH_BYTES:
                yield self._batch(names, values)
                values = [[] for _ in names]
                rows, size = 0, 0
        if rows:
            yield self._batch(names, values)

    def _batch(self, names: Sequence[str], values: list[list[str | None]]) -> pa.RecordBatch:
        try:
            return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in values], names=list(names))
        except UnicodeEncodeError as error:
            raise TaskError("TASK", "a text holds half of a surrogate pair (\\ud800 to \\udfff); mend it") from error

    def _plain(self, value: Any, name: str, place: int) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        what = "an object" if isinstance(value, dict) else "a list"
        raise TaskError(
            "TASK",
            f"{self.place} {place}: field {name!r} holds {what}; only text, numbers and true or false fit a column",
        )

    def _find_names(self) -> list[str]:
        """Every field that some object has, in order of appearance."""
        names: dict[str, None] = {}
        for place, _, found in self._objects():
            if not found.keys() <= names.keys():
                names.update(dict.fromkeys(found))
                if len(names) > MAX_COLUMNS:
                    raise TaskError("TASK", f"{self.place} {place}: more than {MAX_COLUMNS} different fields so far")
        if not names:
            raise TaskError("TASK", "the file has no rows")
        blank = next((name for name in names if not name.strip()), None)
        if blank is not None:
            raise TaskError("TASK", "a field has no name; give each field a name of its own")
        return list(names)

    @abstractmethod
    def _objects(self) -> _Objects:
        """Places, sizes in bytes, objects."""

    def _broken(self, place: int, why: str) -> TaskError:
        return TaskError("TASK", f"{self.place} {place} is not a JSON object: {why}; mend it")


class JsonLinesSource(_JsonSource):
    """One object in each line."""

    name, place = "JSONL", "line"

    def _objects(self) -> _Objects:
        line = 0
        with open_text(self._path) as file:
            while data := file.readline(MAX_LINE):
                line += 1
                if len(data) == MAX_LINE:
                    raise TaskError(
                        "TASK", f"line {line} is longer than {MAX_LINE >> 20} MiB; cut it into smaller ones"
                    )
                try:
                    text = data.decode().strip()
                except UnicodeDecodeError:
                    raise not_utf8(line) from None
                if not text:
                    continue
                if line == 1 and text.startswith("["):
                    raise TaskError("TASK", "line 1 begins a JSON array, not an object; name the format JSON")
                try:
                    found = _DECODER.decode(text)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise self._broken(line, _why(error)) from error
                if not isinstance(found, dict):
                    raise self._broken(line, f"it begins with {text[:20]!r}")
                yield line, len(data), found


class JsonArraySource(_JsonSource):
    """One array of objects."""

    name, place = "JSON", "element"

    def _objects(self) -> _Objects:
        pieces = self._pieces()
        text = _Window(pieces)
        first = text.next_mark()
        if first != "[":
            remedy = "; for one object in each line, name the format JSONL" if first == "{" else ""
            raise TaskError("TASK", f"the file is not one JSON array of objects: it begins with {first!r}{remedy}")
        text.skip()
        number = 0
        if text.next_mark() == "]":
            self._ends(text)
            return
        while True:
            number += 1
            mark = text.next_mark()
            if mark != "{":
                raise self._broken(number, f"it begins with {mark!r}" if mark else "the file ends before it")
            try:
                size, found = text.decode_object()
            except (json.JSONDecodeError, RecursionError) as error:
                raise self._broken(number, _why(error)) from error
            yield number, size, found
            mark = text.next_mark()
            if mark == "]":
                self._ends(text)
                return
            if mark != ",":
                raise TaskError(
                    "TASK",
                    f"element {number} is followed by {mark or 'the end of the file'!r} where `,` or `]` belongs",
                )
            text.skip()

    def _ends(self, text: _Window) -> None:
        """Rows behind the array, as of files that were put together, are not lost in silence."""
        text.skip()
        mark = text.next_mark()
        if mark:
            raise TaskError("TASK", f"the file goes on behind its array, with {mark!r}; put all rows into one array")

    def _pieces(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        with open_text(self._path) as file:
            try:
                while data := file.read(_PIECE):
                    yield decoder.decode(data)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                raise not_utf8(first_line_not_utf8(self._path) or 1) from None


class _Window:
    """The part of the text that is being looked at: at most one element and one piece more."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text, self._at = "", 0

    def next_mark(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        """Goes over a character."""
        self._at += 1

    def decode_object(self) -> tuple[int, dict[str, Any]]:
        """The object that begins here, with its size. Raises JSONDecodeError."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off, or broken: only more of the text tells, up to the longest element that is taken.
                if len(self._text) - self._at > MAX_LINE:
                    raise json.JSONDecodeError(
                        f"longer than {MAX_LINE >> 20} MiB, or {error.msg}", error.doc, error.pos
                    ) from error
                if not self._more():
                    raise
                continue
            size = end - self._at
            self._at = end
            return size, found

    def _more(self) -> bool:
        piece = next(self._pieces, "")
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)


def _why(error: json.JSONDecodeError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    near = error.doc[max(0, error.pos - 10) : error.pos + 10]
    return f"{error.msg} near {near!r}"
