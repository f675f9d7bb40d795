"""Tells how a file is to be read, and whether it can be at all, from its name and a few of its bytes.

This is no validation: the coordinator's workers read the whole file. It spares a person the upload of gigabytes that
are plainly something else.
"""

from __future__ import annotations

import codecs
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainnet.client._errors import InvalidFile
from trainnet.v1 import dataset_pb2

CSV, PARQUET, JSON, JSONL, ZIP, TEXT = "csv", "parquet", "json", "jsonl", "zip", "text"

FORMATS: dict[str, dataset_pb2.DatasetFormat] = {
    CSV: dataset_pb2.DATASET_FORMAT_CSV,
    PARQUET: dataset_pb2.DATASET_FORMAT_PARQUET,
    JSON: dataset_pb2.DATASET_FORMAT_JSON,
    JSONL: dataset_pb2.DATASET_FORMAT_JSONL,
    ZIP: dataset_pb2.DATASET_FORMAT_ZIP,
    TEXT: dataset_pb2.DATASET_FORMAT_TEXT,
}

_SUFFIXES = {
    "csv": CSV,
    "tsv": CSV,  # inspection tells the delimiter from the header line
    "parquet": PARQUET,
    "json": JSON,
    "jsonl": JSONL,
    "ndjson": JSONL,
    "zip": ZIP,
    "txt": TEXT,
}

_HEAD = 64 * 1024
_PARQUET_MAGIC = b"PAR1"
_ZIP_MAGIC = b"PK\x03\x04"
_READS = "TrainNet reads .csv, .tsv, .json, .jsonl, .ndjson, .parquet, .zip and .txt"

# What people upload by mistake.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (_PARQUET_MAGIC, "a Parquet file"),
    (_ZIP_MAGIC, "a zip archive or spreadsheet"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)


@dataclass(frozen=True)
class _Ends:
    """The first bytes of a file, its last four, and its length."""

    path: Path
    head: bytes
    tail: bytes
    size: int

    @property
    def whole(self) -> bool:
        """Whether the head is all there is."""
        return len(self.head) == self.size

    def refuse(self, message: str, hint: str) -> InvalidFile:
        return InvalidFile(str(self.path), message, hint=hint)


def detect(path: Path, asked: str | None = None) -> str:
    """One of FORMATS: the format asked for, else what the suffix says; checked against the file's first bytes.

    Raises InvalidFile that says what is wrong with the file and what to do.
    """
    ends = _ends(path)
    if asked is not None:
        found = _SUFFIXES.get(asked.lower(), asked.lower())
        if found not in FORMATS:
            raise ends.refuse(f"unknown format {asked!r}", f"the formats are {', '.join(FORMATS)}")
    else:
        found = _SUFFIXES.get(path.suffix.removeprefix(".").lower(), "")
        if not found:
            what = f"suffix {path.suffix!r} is no known format" if path.suffix else "the name has no suffix"
            raise ends.refuse(what, f"{_READS}; rename it, or say `--format`")
    _CHECKS[found](ends)
    return found


def _ends(path: Path) -> _Ends:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            size = file.seek(0, 2)
            file.seek(max(0, size - 4))
            tail = file.read(4)
    except FileNotFoundError:
        raise InvalidFile(str(path), "no such file", hint="check the path") from None
    except OSError as error:
        raise InvalidFile(str(path), f"cannot be read: {error.strerror}", hint="check the file") from None
    if size == 0:
        raise InvalidFile(str(path), "is empty", hint="name a file with data")
    return _Ends(path, head, tail, size)


def _check_parquet(ends: _Ends) -> None:
    if ends.head.startswith(_PARQUET_MAGIC) and ends.tail == _PARQUET_MAGIC and ends.size >= 12:
        return
    if ends.head.startswith(_PARQUET_MAGIC):
        raise ends.refuse("is a Parquet file that ends too early", "copy or write it again")
    raise ends.refuse(f"is no Parquet file{_guess(ends.head)}", _READS)


def _check_zip(ends: _Ends) -> None:
    if not ends.head.startswith(_ZIP_MAGIC):
        raise ends.refuse(f"is no zip archive with files in it{_guess(ends.head)}", _READS)
    if not zipfile.is_zipfile(ends.path):
        raise ends.refuse("is a zip archive that ends too early", "copy or write it again")


def _check_csv(ends: _Ends) -> None:
    lines = _lines(ends, "CSV", "comma separated UTF-8 text")
    if len(lines) == 1 and ends.whole:
        raise ends.refuse("has a single line", "a CSV file needs a header line and rows")


def _check_json(ends: _Ends) -> None:
    first = _lines(ends, "JSON", "a JSON array of objects in UTF-8")[0].lstrip()
    if first.startswith("{"):
        raise ends.refuse(
            "begins with an object, not with an array of them",
            "for one object in each line say `--format jsonl` or rename it to .jsonl; else put [ ] around the objects",
        )
    if not first.startswith("["):
        raise ends.refuse("is no JSON array of objects", "write it as [{…}, {…}]")


def _check_jsonl(ends: _Ends) -> None:
    first = _lines(ends, "JSONL", "one JSON object in each line, in UTF-8")[0].lstrip()
    if first.startswith("["):
        raise ends.refuse("begins with an array", "for one array of objects say `--format json` or rename it to .json")
    if not first.startswith("{"):
        raise ends.refuse("does not begin with a JSON object", "write one {…} in each line")


def _check_text(ends: _Ends) -> None:
    _lines(ends, "text", "UTF-8 text")


def _lines(ends: _Ends, what: str, how: str) -> list[str]:
    """The lines of the head that are not blank, at least one."""
    if ends.head.startswith(_PARQUET_MAGIC):
        raise ends.refuse("is a Parquet file in spite of its name", "rename it, or say `--format parquet`")
    guess = _guess(ends.head)
    if guess or b"\0" in ends.head:
        raise ends.refuse(f"is no {what} file{guess}", f"write it as {how}")
    try:
        # The head may end within a character; only a whole file must decode to its end.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(ends.head, final=ends.whole)
    except UnicodeDecodeError as error:
        raise ends.refuse(f"is not UTF-8 text (byte {error.start})", f"write it as {how}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ends.refuse("holds blank lines only", "name a file with data")
    return lines


def _guess(head: bytes) -> str:
    return next((f", it is {what}" for magic, what in _MAGIC if head.startswith(magic)), "")


_CHECKS: dict[str, Callable[[_Ends], None]] = {
    CSV: _check_csv,
    PARQUET: _check_parquet,
    JSON: _check_json,
    JSONL: _check_jsonl,
    ZIP: _check_zip,
    TEXT: _check_text,
}
