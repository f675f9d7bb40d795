"""The files that stand beside a model's weights: a zip that INITIALIZE makes and that travels with every task."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainnet.worker.errors import TaskError

Parts = Mapping[str, bytes]
"""File name -> content: `config.json`, `tokenizer.json`, `preprocessor_config.json`, …"""

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
PREPROCESSOR = "preprocessor_config.json"
GENERATION = "generation_config.json"

KNOWN = (CONFIG, GENERATION, PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG)
MAX_BYTES = 64 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_bundle(path: Path, parts: Parts) -> None:
    """The same parts give the same bytes: no times, no compression, in the order of names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, parts[name])


def read_bundle(path: Path) -> dict[str, bytes]:
    """The reverse of write_bundle. Raises TaskError."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_BYTES or {e.filename for e in entries} - set(KNOWN):
                raise TaskError("TASK", "the model's bundle holds what no bundle has: clone the job")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise TaskError("TASK", f"the model's bundle cannot be read: {error}") from error


def to_json(content: Mapping[str, Any]) -> bytes:
    """JSON as transformers writes it."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def from_json(parts: Parts, name: str) -> dict[str, Any]:
    """A part that is one JSON object; empty where it is absent. Raises TaskError."""
    try:
        content = json.loads(parts.get(name, b"{}"))
    except (ValueError, RecursionError) as error:
        raise TaskError("TASK", f"{name} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise TaskError("TASK", f"{name} is no JSON object")
    return content
