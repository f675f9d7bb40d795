"""What formats of text have in common: UTF-8, told apart from everything else, with the line that is not."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import BinaryIO

from trainnet.worker.errors import TaskError

MAX_LINE = 4 << 20
"""Bytes that a line may have at most: what is read at once."""

_WINDOW = 1 << 20
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MAGIC = {
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive or spreadsheet",
    b"\x1f\x8b": "a gzip file (unpack it first)",
    b"\x28\xb5\x2f\xfd": "a zstd file (unpack it first)",
    b"BZh": "a bzip2 file (unpack it first)",
    b"\xfd7zXZ": "an xz file (unpack it first)",
    b"ARROW1": "an Arrow file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF",
}


def what_it_is(head: bytes) -> str | None:
    """The format that a file's first bytes tell, where they tell one."""
    return next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)


def check_is_text(path: Path, name: str) -> None:
    """Looks at the beginning. Raises TaskError where it is no UTF-8 text; `name` is the format it should have."""
    with path.open("rb") as file:
        head = file.read(_WINDOW)
    what = what_it_is(head)
    if what:
        raise TaskError("TASK", f"the file is not {name} but {what}; upload a {name} file, or name the right format")
    if head.startswith(_UTF16) or _looks_like_utf16(head):
        raise TaskError("TASK", "the file is UTF-16; save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8")
    if b"\0" in head:
        raise TaskError("TASK", f"the file is not {name}: it contains binary data; upload a {name} file in UTF-8")


def open_text(path: Path) -> BinaryIO:
    """The file behind its byte order mark, if it has one."""
    file = path.open("rb")
    if file.read(len(_BOM)) != _BOM:
        file.seek(0)
    return file


def not_utf8(line: int) -> TaskError:
    """The error for a line in another encoding."""
    return TaskError(
        "TASK",
        f"line {line} is not UTF-8; save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 "
        "(where only some lines are wrong, the file mixes encodings: mend those)",
    )


def first_line_not_utf8(path: Path) -> int | None:
    """The number of the first line that is not UTF-8, in constant memory."""
    line = 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while True:
            data = file.read(_WINDOW)
            try:
                decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                # What the decoder kept of the piece before is at most three bytes and no line end.
                return line + error.object[: error.start].count(b"\n")
            if not data:
                return None
            line += data.count(b"\n")


def _looks_like_utf16(head: bytes) -> bool:
    sample = head[:512]
    pairs = len(sample) // 2
    return pairs >= 2 and (sample[1::2].count(0) > 0.8 * pairs or sample[0::2].count(0) > 0.8 * pairs)
