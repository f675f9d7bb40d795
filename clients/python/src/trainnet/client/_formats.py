"""Tells how a file is to be read, and whether it can be at all, from its name and a few of its bytes.

This is no validation: the coordinator's workers read the whole file. It spares a person the upload of gigabytes that
are plainly something else.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from trainnet.client._errors import InvalidFile
from trainnet.v1 import dataset_pb2

CSV = "csv"
PARQUET = "parquet"

FORMATS: dict[str, dataset_pb2.DatasetFormat] = {
    CSV: dataset_pb2.DATASET_FORMAT_CSV,
    PARQUET: dataset_pb2.DATASET_FORMAT_PARQUET,
}

_HEAD = 64 * 1024
_PARQUET_MAGIC = b"PAR1"
_READS = "TrainNet reads .csv and .parquet"

# What people upload by mistake.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive or spreadsheet"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)


def detect(path: Path, asked: str | None = None) -> str:
    """`csv` or `parquet`: the format asked for, else what the suffix says; checked against the file's first bytes.

    Raises InvalidFile that says what is wrong with the file and what to do.
    """
    name = str(path)
    head, tail, size = _ends(path)
    if asked is not None and asked.lower() not in FORMATS:
        raise InvalidFile(name, f"unknown format {asked!r}", hint="the formats are csv and parquet")
    found = (asked or path.suffix.removeprefix(".")).lower()
    if found not in FORMATS:
        what = f"suffix {path.suffix!r} is no known format" if path.suffix else "the name has no suffix"
        raise InvalidFile(name, what, hint=f"{_READS}; rename it, or say `datasets upload --format`")
    if found == PARQUET:
        _check_parquet(name, head, tail, size)
    else:
        _check_csv(name, head, size)
    return found


def _ends(path: Path) -> tuple[bytes, bytes, int]:
    try:
        if path.is_dir():
            raise InvalidFile(str(path), "is a folder", hint="name one .csv or .parquet file")
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
    return head, tail, size


def _check_parquet(name: str, head: bytes, tail: bytes, size: int) -> None:
    if head.startswith(_PARQUET_MAGIC) and tail == _PARQUET_MAGIC and size >= 12:
        return
    if head.startswith(_PARQUET_MAGIC):
        raise InvalidFile(name, "is a Parquet file that ends too early", hint="copy or write it again")
    raise InvalidFile(name, f"is no Parquet file{_guess(head)}", hint=_READS)


def _check_csv(name: str, head: bytes, size: int) -> None:
    if head.startswith(_PARQUET_MAGIC):
        raise InvalidFile(
            name, "is a Parquet file in spite of its name", hint="rename it, or say `datasets upload --format parquet`"
        )
    guess = _guess(head)
    if guess or b"\0" in head:
        raise InvalidFile(name, f"is no CSV file{guess}", hint="write it as comma separated UTF-8 text")
    try:
        # The head may end within a character; only a whole file must decode to its end.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=len(head) == size)
    except UnicodeDecodeError as error:
        raise InvalidFile(
            name, f"is not UTF-8 text (byte {error.start})", hint="write it as comma separated UTF-8 text"
        ) from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InvalidFile(name, "holds blank lines only", hint="name a file with data")
    if len(lines) == 1 and len(head) == size:
        raise InvalidFile(name, "has a single line", hint="a CSV file needs a header line and rows")


def _guess(head: bytes) -> str:
    return next((f", it is {what}" for magic, what in _MAGIC if head.startswith(magic)), "")
