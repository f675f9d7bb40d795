"""A shard's examples, made once and kept between rounds and restarts: a folder of flat files, one for each field.

An entry gets its name by a rename after all of it was written, so whatever carries a name was whole once. Each
process verifies an entry's sizes and digests before its first use: disks and people change things. Small entries are
read into memory, larger ones are mapped. The processes of a worker share the folder: a lock guards its accounting, a
lock on each mapped or growing entry keeps others from removing it.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import structlog
import torch
from torch import Tensor

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.encoding import TRUNCATED, Encoding, Field
from trainnet.worker.trainer.inputs.examples import Examples
from trainnet.worker.trainer.inputs.folder import META, Growing, InputFolder, hold

SMALL = 64 << 20
"""Bytes up to which an entry is read into memory instead of being mapped."""
MEMORY = 256 << 20
"""Bytes of small entries that a process keeps."""


class InputStore:
    """Examples by the digest of their shard and the identity of their encoding."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`max_bytes` bounds the folder; its least recently used entries go first."""
        self.folder = self._folder = InputFolder(folder, max_bytes)
        """What else is kept between rounds is kept here too, within the same bound."""
        self._memory: OrderedDict[str, Examples] = OrderedDict()
        self._verified: set[str] = set()
        self._log = structlog.get_logger(__name__)

    def open(
        self, digest: str, path: Path, encoding: Encoding, *, on_block: Callable[[], None] = lambda: None
    ) -> Examples:
        """The examples of the file at `path`, whose digest is `digest`; made when they are not there.

        `on_block` is called while they are being made, and may raise. Raises TaskError.
        """
        key = hashlib.sha256(f"{digest}\n{encoding.identity}".encode()).hexdigest()[:40]
        found = self._memory.get(key)
        if found is not None:
            self._memory.move_to_end(key)
            return found
        entry = self._folder.path / key
        examples = self._load(key, encoding.fields)
        if examples is None:
            self._make(key, path, encoding, on_block)
            examples = self._load(key, encoding.fields)
        if examples is None:
            raise TaskError("WORKER", f"the inputs at {entry} cannot be read back: mend the worker's disk")
        self._remember(key, examples)
        return examples

    def _remember(self, key: str, examples: Examples) -> None:
        if examples.nbytes > SMALL:
            return
        self._memory[key] = examples
        while sum(kept.nbytes for kept in self._memory.values()) > MEMORY:
            self._memory.popitem(last=False)

    def _load(self, key: str, fields: tuple[Field, ...]) -> Examples | None:
        entry = self._folder.path / key
        try:
            held = hold(entry / META)
        except FileNotFoundError:
            return None
        try:
            meta = json.loads(held.read())
            if key not in self._verified:
                _verify(entry, meta)
                self._verified.add(key)
            self._folder.touch(key)
            return _read(entry, meta, fields, held)
        except (OSError, ValueError, KeyError, TypeError) as error:
            held.close()
            self._log.warning("prepared inputs are damaged, making them again", entry=key, error=str(error))
            self._folder.remove(key)
            return None

    def _make(self, key: str, path: Path, encoding: Encoding, on_block: Callable[[], None]) -> None:
        with self._folder.growing() as growing:
            files = {field.name: _FieldFile(growing, field) for field in encoding.fields}
            try:
                examples, truncated = 0, 0
                for block in encoding.examples(path):
                    on_block()
                    growing.reserve(sum(block[name].nbytes for name in files))
                    for name, file in files.items():
                        file.write(np.ascontiguousarray(block[name]))
                    examples += len(next(iter(block.values())))
                    truncated += int(block[TRUNCATED].sum()) if TRUNCATED in block else 0
            finally:
                for file in files.values():
                    file.close()
            meta = {
                "examples": examples,
                "truncated": truncated,
                "fields": {name: {"size": file.size, "sha256": file.sha256} for name, file in files.items()},
            }
            (growing.path / META).write_text(json.dumps(meta), encoding="utf-8")
            growing.finish(key)
        # Its digests are those of what was written just now.
        self._verified.add(key)


class _FieldFile:
    def __init__(self, growing: Growing, field: Field) -> None:
        self._field = field
        self._file = _path(growing.path, field.name).open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, values: np.ndarray) -> None:
        if values.dtype != np.dtype(self._field.dtype) or values.shape[1:] != self._field.shape:
            raise AssertionError(f"{self._field.name} is {values.dtype} {values.shape[1:]}, not as declared")
        data = values.reshape(-1).view(np.uint8).data
        self._hash.update(data)
        self.size += len(data)
        while len(data):
            data = data[self._file.write(data) :]

    def close(self) -> None:
        self._file.close()


def _path(entry: Path, field: str) -> Path:
    return entry / f"{field}.bin"


def _verify(entry: Path, meta: dict[str, Any]) -> None:
    for name, expected in meta["fields"].items():
        with _path(entry, name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                raise ValueError(f"{name} has another digest")


def _read(entry: Path, meta: dict[str, Any], fields: tuple[Field, ...], held: BinaryIO) -> Examples:
    count = meta["examples"]
    shapes = {field.name: (np.dtype(field.dtype), (count, *field.shape)) for field in fields}
    nbytes = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in shapes.values())
    tensors: dict[str, Tensor] = {}
    for name, (dtype, shape) in shapes.items():
        path = _path(entry, name)
        if nbytes <= SMALL:
            values = np.fromfile(path, dtype=dtype).reshape(shape)
        else:
            # Copy on write: torch knows no tensors that are only for reading, and nobody writes to these.
            values = np.memmap(path, dtype=dtype, mode="c", shape=shape)
        tensors[name] = torch.from_numpy(values)
    examples = Examples(tensors, meta["truncated"])
    if nbytes <= SMALL:
        held.close()
    else:
        # As long as they are mapped, nobody removes them.
        weakref.finalize(examples, held.close)
    return examples
