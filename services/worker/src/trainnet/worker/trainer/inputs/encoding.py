"""The interface between data and models: how rows become examples, and examples a batch.

An example is what a model sees at once: a row of a table, an image, a text, a block of tokens. Its arrays have fixed
shapes, so that a shard's examples lie in a few flat files, are made once and are mapped into memory from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[Any]]
"""Fields by name, each (examples, *shape)."""

Batch = dict[str, Tensor]
"""Fields by name, each (examples, *shape), on the device."""

TRUNCATED = "truncated"
"""Beside the fields, a block of examples may say which of them were cut, (examples,) bool: counted, and not kept."""


@dataclass(frozen=True)
class Field:
    """One array of an example: `dtype` as numpy writes it (`<f4`, `|u1`, `<i8`), `shape` without the examples."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Encoding(Protocol):
    """How the rows of a prepared Parquet file become examples. Deterministic."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of an example."""

    @property
    def identity(self) -> str:
        """All that the examples depend on beside the file: version of the code, schema, tokenizer, lengths. Equal
        identities give equal bytes."""

    def examples(self, path: Path) -> Iterator[Arrays]:
        """The file's examples in order, in blocks, in constant memory. Raises TaskError naming the row."""

    def batch(self, examples: Batch) -> Batch:
        """What the module takes: pixels from 0 to 1, masks, positions. Cheap, on the device."""
