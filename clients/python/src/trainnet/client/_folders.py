"""Folders as one file to upload: a zip that is the same, byte for byte, as long as the folder is.

Since the same bytes are the same upload, a folder whose upload was interrupted goes on where it stopped, although it is
zipped anew. Entries are stored, not compressed: images, sound and weights are as small as they get.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from trainnet.client._digest import CHUNK_BYTES, Advance
from trainnet.client._errors import InvalidFile

_NOISE = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_METADATA = "metadata.csv"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say

_MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model", ".jinja"})
_PROVENANCE = "provenance.json"  # TrainNet's own record beside a model
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_OTHERS = frozenset({".h5", ".msgpack", ".onnx", ".gguf", ".tflite"})


def data_files(folder: Path) -> list[Path]:
    """The files of a folder of class folders, or of files that a metadata.csv tells of, in their order in the zip.

    Hidden files and what desktops leave behind are none; links are followed. Raises InvalidFile where the folder is
    laid out otherwise, or a part of it cannot be read: nothing is left out silently.
    """
    found = []
    for place, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOISE)
        for name in folders:
            _refuse_loop(folder, Path(place, name))
        found += [Path(place, name) for name in names if not name.startswith(".") and name not in _NOISE]
    lost = next((path for path in found if not path.exists()), None)
    if lost is not None:
        raise InvalidFile(str(lost), "is a link to nothing", hint="mend it or remove it")
    found = sorted(path for path in found if path.is_file())
    if not found:
        raise InvalidFile(str(folder), "is an empty folder", hint="name a folder with data, or a file")
    if any(path.name == _METADATA for path in found) or any(path.parent != folder for path in found):
        return found
    raise InvalidFile(
        str(folder),
        "is a folder of files without classes",
        hint=f"put each class into a folder of its own, add a {_METADATA} with a column file_name, or name one file",
    )


def _unreadable(error: OSError) -> NoReturn:
    raise InvalidFile(str(error.filename), f"cannot be read: {error.strerror}", hint="check its permissions") from None


def _refuse_loop(folder: Path, inner: Path) -> None:
    """Raises InvalidFile for a link to a folder that it lies in, in which a walk would never end."""
    above = inner.parents[: len(inner.relative_to(folder).parts)]
    if inner.is_symlink() and inner.resolve() in {path.resolve() for path in above}:
        raise InvalidFile(str(inner), "is a link to a folder that it lies in", hint="remove the link")


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that transformers saved: configuration, weights, tokenizer, preprocessing.

    Raises InvalidFile where there is no configuration, or no weights but in files that can run code when read.
    """
    try:
        here = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        _unreadable(error)
    found = [path for path in here if path.suffix in _MODEL_SUFFIXES and path.name != _PROVENANCE]
    if not any(path.suffix == ".safetensors" for path in found):
        raise _without_weights(folder, here)
    if not any(path.name == "config.json" for path in found):
        raise InvalidFile(
            str(folder),
            "has no config.json",
            hint="name a folder that `save_pretrained` wrote, or one .safetensors file of an architecture's tensors",
        )
    return found


def plain_weights(folder: Path) -> Path | None:
    """The weights in the folder of a plain architecture of TrainNet's (`mlp`, `cnn`): all that a base needs of it.

    None for other folders.
    """
    weights, config = folder / "model.safetensors", folder / "config.json"
    if not weights.is_file() or not config.is_file():
        return None
    try:
        facts = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what it is, is told by who reads the folder
        return None
    plain = isinstance(facts, dict) and "architecture" in facts and "model_type" not in facts
    return weights if plain else None


def _without_weights(folder: Path, here: list[Path]) -> InvalidFile:
    pickle = next((path.name for path in here if path.suffix in _PICKLES), "")
    other = next((path.name for path in here if path.suffix in _OTHERS), "")
    what = (
        f"has its weights in {pickle}, a pickle, which can run code when it is read"
        if pickle
        else (f"has its weights in {other}" if other else "has no weights")
    )
    return InvalidFile(str(folder), f"{what}, and no .safetensors file", hint=TO_SAFETENSORS)


TO_SAFETENSORS = "make one where you trust the file: `AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`"


@contextmanager
def zipped(folder: Path, files: list[Path], progress: Callable[[int, int], None] | None = None) -> Iterator[Path]:
    """The files as a zip in a temporary place, for as long as the block lasts.

    `progress` is told the bytes done and in all. Raises InvalidFile when a file cannot be read or the zip not written.
    """
    with tempfile.TemporaryDirectory(prefix="trainnet-") as place:
        target = Path(place) / f"{folder.name}.zip"
        try:
            total = sum(path.stat().st_size for path in files)
            _write(target, folder, files, (lambda done: progress(done, total)) if progress else None)
        except UnicodeEncodeError as error:
            name = error.object.encode(errors="backslashreplace").decode()
            raise InvalidFile(str(folder), f"the name {name} is no UTF-8", hint="rename the file") from None
        except OSError as error:
            raise InvalidFile(
                str(folder),
                f"cannot be zipped: {error.strerror or error}",
                hint=f"check the files; the zip is written to {tempfile.gettempdir()}, TMPDIR names another place",
            ) from None
        yield target


def _write(target: Path, folder: Path, files: list[Path], advance: Advance | None) -> None:
    done = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # the same on every system
            entry.file_size = path.stat().st_size  # tells whether the entry needs 64 bits
            with path.open("rb") as source, archive.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
            done += entry.file_size
            if advance:
                advance(done)
