"""A model's folder as strangers hand it in: what of it is read, and what is refused before it is."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models.bundle import CONFIG, GENERATION, PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG
from trainnet.worker.trainer.models.tokenizer import VOCABULARIES
from trainnet.worker.trainer.weights import read_map
from trainnet.worker.trainer.zips import BoundedZip

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SMALL = frozenset((CONFIG, GENERATION, PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG, *VOCABULARIES, INDEX))
"""Files that are read into memory."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_MAX_SMALL = 64 << 20
_MAX_ENTRIES = 10_000
_MAX_RATIO = 50
_FREE = 64 << 20


def is_wanted(name: str) -> bool:
    """Whether a file of the folder is read at all: no pickles, no code."""
    return name in SMALL or name == WEIGHTS or _SHARD.fullmatch(name) is not None


def is_zip(path: Path) -> bool:
    """Told by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) in {b"PK\3\4", b"PK\5\6"}


def unpack(path: Path, target: Path) -> None:
    """Writes the wanted files of a zipped model's folder into `target`. Raises TaskError."""
    target.mkdir()
    try:
        refusal = "the model's zip has far more entries than a model's folder has files"
        with BoundedZip(path, _MAX_ENTRIES, refusal) as archive:
            entries = _wanted_entries(archive)
            total = sum(entry.file_size for entry in entries.values())
            if total > max(_FREE, _MAX_RATIO * path.stat().st_size):
                raise TaskError("TASK", "the model's zip unpacks to far more than its size, like a zip bomb")
            for name, entry in entries.items():
                with archive.open(entry) as source, (target / name).open("wb") as sink:
                    shutil.copyfileobj(_Limited(source, entry.file_size), sink, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise TaskError("TASK", f"the model's zip cannot be read: {error}; upload it again") from error


def check(folder: Path) -> dict[str, bytes]:
    """The small files of a folder; its weights are well-formed then. Raises TaskError."""
    found = {path.name for path in folder.iterdir()}
    if CONFIG not in found:
        raise TaskError("TASK", "the base has no config.json: it must be a transformers model's folder")
    files = {}
    for name in sorted(found & SMALL):
        if (folder / name).stat().st_size > _MAX_SMALL:
            raise TaskError("TASK", f"the base's {name} has more than {_MAX_SMALL >> 20} MiB")
        files[name] = (folder / name).read_bytes()
    weights = _weight_files(files.pop(INDEX, None), found)
    for name in weights:
        read_map(folder / name)
    return files


def _weight_files(index: bytes | None, found: set[str]) -> set[str]:
    if WEIGHTS in found:
        return {WEIGHTS}
    if index is None:
        raise TaskError(
            "TASK",
            "the base has no model.safetensors; pickles are never read: save it with "
            "save_pretrained(folder, safe_serialization=True)",
        )
    try:
        names = {str(name) for name in json.loads(index)["weight_map"].values()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise TaskError("TASK", f"the base's {INDEX} cannot be read: {error!r}") from error
    for name in sorted(names):
        if name not in found or not _SHARD.fullmatch(name):
            raise TaskError("TASK", f"the base's {INDEX} names {name[:100]!r}, the folder has no such file of weights")
    return names


def _wanted_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    configs = [PurePosixPath(info.filename) for info in infos if PurePosixPath(info.filename).name == CONFIG]
    if not configs:
        raise TaskError("TASK", "the model's zip has no config.json: zip the folder that save_pretrained writes")
    # Whether the folder itself or what is in it was zipped; sentence encoders have other config.json deeper down.
    root = min(configs, key=lambda path: (len(path.parts), path)).parent
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        if path.parent != root or not is_wanted(path.name):
            continue
        if path.name in entries:
            raise TaskError("TASK", f"the model's zip has two files called {path.name}: keep one")
        if info.flag_bits & 0x41:
            raise TaskError("TASK", f"{path.name} in the model's zip is encrypted: store it without a password")
        if path.name in SMALL and info.file_size > _MAX_SMALL:
            raise TaskError("TASK", f"the base's {path.name} has more than {_MAX_SMALL >> 20} MiB")
        entries[path.name] = info
    return entries


class _Limited(io.RawIOBase):
    """No more than the directory said: a stream that goes on is a bomb."""

    def __init__(self, source: object, left: int) -> None:
        self._source, self._left = source, left

    def read(self, size: int = -1, /) -> bytes:
        """Raises ValueError behind the end."""
        data: bytes = self._source.read(size)  # type: ignore[attr-defined]
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("an entry is longer than the directory says")
        return data
