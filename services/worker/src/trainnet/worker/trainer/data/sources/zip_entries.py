"""The entries of a stranger's zip, after every check that can be made without unpacking one.

Nothing is ever extracted: entries are read one by one into memory, and no more of each than its checked size. What is
refused: names that leave the folder, links, encryption, bombs (by ratio, by size, by entries that share their bytes),
entries of the same name, more of them than anybody needs.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.zips import BoundedZip

MAX_ENTRIES = 300_000
MAX_ENTRY = 64 << 20
MAX_TOTAL_RATIO = 100
MAX_RATIO = 200
_FREE = 64 << 20  # a small archive of blank images may unpack to this whatever its ratio is
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_IGNORED_FILES = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Entry:
    """A file in the archive; `parts` are its folders and its name."""

    parts: tuple[str, ...]
    info: zipfile.ZipInfo


class Archive:
    """An opened zip and the entries that are data."""

    def __init__(self, path: Path) -> None:
        refusal = f"the zip has more than {MAX_ENTRIES} entries, or too long names; upload a Parquet file instead"
        try:
            self._zip = BoundedZip(path, MAX_ENTRIES, refusal)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, ValueError) as error:
            raise TaskError("TASK", f"the zip cannot be read: {error}; upload it again") from error
        infos = self._zip.infolist()
        self.entries = [
            Entry(PurePosixPath(info.filename).parts, info)
            for info in infos
            if not info.is_dir() and not _is_ignored(info.filename)
        ]
        for info in infos:
            _check(info)
        _check_together(infos, path.stat().st_size)

    def read(self, entry: Entry) -> bytes:
        """The bytes of an entry. Raises TaskError where they are not what the archive's directory says."""
        name = shown(entry.info.filename)
        try:
            with self._zip.open(entry.info) as file:
                data = file.read(entry.info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise TaskError("TASK", f"{name} in the zip is damaged ({error}); upload it again") from error
        if len(data) != entry.info.file_size:
            raise TaskError("TASK", f"{name} in the zip has another size than its directory says; upload it again")
        return data


def shown(name: str) -> str:
    """A name as an error may show it."""
    return repr(name if len(name) <= 120 else name[:117] + "…")


def _check(info: zipfile.ZipInfo) -> None:
    raw = info.orig_filename
    name = shown(raw)
    if "\0" in raw or any(ord(letter) < 32 for letter in raw):
        raise TaskError("TASK", f"the zip has an entry with control characters in its name: {name}; rename it")
    if raw.startswith("/") or "\\" in raw or raw[1:2] == ":":
        raise TaskError("TASK", f"the zip has an entry with an absolute or foreign path: {name}; use relative ones")
    if ".." in raw.split("/"):
        raise TaskError("TASK", f"the zip has an entry that leads out of its folder: {name}; use plain paths")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise TaskError("TASK", f"the zip has an entry that is no file but a link or device: {name}; store the file")
    if info.flag_bits & 0x41:
        raise TaskError("TASK", f"{name} in the zip is encrypted; store it without a password")
    if info.compress_type not in _METHODS:
        raise TaskError("TASK", f"{name} in the zip is compressed in an unusual way; use deflate or none")
    if info.file_size > MAX_ENTRY:
        raise TaskError(
            "TASK",
            f"{name} in the zip is {info.file_size >> 20} MiB large, more than {MAX_ENTRY >> 20}; make it smaller",
        )
    if info.file_size > 1 << 20 and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise TaskError("TASK", f"{name} in the zip unpacks to more than {MAX_RATIO} times its size, like a zip bomb")


def _check_together(infos: list[zipfile.ZipInfo], archive_size: int) -> None:
    total = sum(info.file_size for info in infos)
    if total > max(_FREE, MAX_TOTAL_RATIO * archive_size):
        raise TaskError(
            "TASK", f"the zip unpacks to {total >> 20} MiB, more than {MAX_TOTAL_RATIO} times its size, like a zip bomb"
        )
    seen: set[str] = set()
    for info in infos:
        if info.filename in seen:
            raise TaskError("TASK", f"the zip has two entries called {shown(info.filename)}; keep one")
        seen.add(info.filename)
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        # 30 bytes of header, the name and the data at least: entries that share bytes multiply what they unpack to.
        if info.header_offset < end:
            raise TaskError("TASK", f"{shown(info.filename)} overlaps another entry of the zip, like a zip bomb")
        end = info.header_offset + 30 + info.compress_size


def _is_ignored(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[-1].lower() in _IGNORED_FILES or any(p.startswith(".") or p == "__MACOSX" for p in parts)
