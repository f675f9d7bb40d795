"""Writes an update as its numbers come, in memory that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from trainnet.runtime.tensors import TensorInfo, build_header
from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec
from trainnet.worker.protocol import OutputFile
from trainnet.worker.trainer.codecs import bf16
from trainnet.worker.trainer.codecs.choice import name_of, records_of
from trainnet.worker.trainer.codecs.records import Numbers
from trainnet.worker.trainer.files import HashedFile

_AT_ONCE = 1 << 18
"""Numbers that are encoded at a time."""


class LeftOut(Protocol):
    """What a codec leaves out of its records, in the order of the numbers."""

    def read(self, count: int) -> Numbers | None:
        """Of the round before; None where nothing is known of it."""

    def write(self, values: Numbers) -> None:
        """Of this round."""


@dataclass(frozen=True)
class _Run:
    """Numbers that travel alike."""

    count: int
    in_records: bool


class UpdateWriter:
    """The output `update`: a file for which numbers are written one after the other, those of the base's tensors in its
    order. A context manager; `finish` closes the file and says what it holds."""

    def __init__(
        self,
        path: Path,
        base: Collection[TensorInfo],
        codec: Codec,
        *,
        buffers: Collection[str] = (),
        left_out: LeftOut | None = None,
    ) -> None:
        """`base`: its tensors, of F32; `buffers` names those that no gradient moves. Raises TaskError."""
        name = name_of(codec)
        self._records, self._bf16 = records_of(codec), codec.kind == codec_pb2.CODEC_KIND_BF16
        self._feedback, self._left_out = np.float32(codec.feedback), left_out
        tensors: list[tuple[str, str, tuple[int, ...]]] = []
        self._runs: list[_Run] = []
        for moved, group in groupby(base, key=lambda tensor: tensor.name not in buffers):
            members = list(group)
            count = sum(member.count for member in members)
            coded = moved and self._records is not None
            if moved and self._records is not None:
                rows = -(-count // self._records.elements)
                tensors.append((members[0].name, "U8", (rows, self._records.nbytes)))
            else:
                dtype = "BF16" if self._bf16 else "F32"
                tensors += [(member.name, dtype, member.shape) for member in members]
            self._runs.append(_Run(count, coded))
        self._left = self._runs[0].count if self._runs else 0
        elements = self._records.elements if self._records is not None else 1
        self._waiting = np.zeros(max(1, _AT_ONCE // elements) * elements if elements > 1 else 0, np.float32)
        self._used = 0
        self._file = HashedFile("update", path)
        self._file.write(build_header(tensors, {"trainnet.codec": name} if name != "fp32" else None))

    def write(self, values: Numbers) -> None:
        """The next numbers, in one dimension."""
        while len(values):
            while self._left == 0:
                self._next_run()
            taken = values[: min(self._left, _AT_ONCE)]
            if self._runs[0].in_records:
                taken = taken[: len(self._waiting) - self._used]
                self._waiting[self._used : self._used + len(taken)] = taken
                self._used += len(taken)
                if self._used == len(self._waiting):
                    self._encode()
            elif self._bf16:
                self._file.write(bf16.rounded(taken).data.cast("B"))
            else:
                self._file.write(np.ascontiguousarray(taken, "<f4").data.cast("B"))
            self._left -= len(taken)
            values = values[len(taken) :]

    def finish(self) -> OutputFile:
        """Closes the file. All numbers must have been written."""
        while self._left == 0 and self._runs:
            self._next_run()
        if self._left:
            raise AssertionError(f"{self._left} numbers of a run are missing")
        return self._file.finish()

    def _next_run(self) -> None:
        self._encode()
        del self._runs[0]
        self._left = self._runs[0].count if self._runs else 0

    def _encode(self) -> None:
        """What waits, as records."""
        if self._used == 0 or self._records is None:
            return
        count = -(-self._used // self._records.elements) * self._records.elements
        values = self._waiting[:count]
        values[self._used :] = 0.0
        before = self._left_out.read(self._used) if self._left_out is not None else None
        if before is not None:
            values[: self._used] += self._feedback * before
        rows, decoded = self._records.encode(values.reshape(-1, self._records.elements))
        self._file.write(rows.data.cast("B"))
        if self._left_out is not None:
            self._left_out.write((values - decoded.reshape(-1))[: self._used])
        self._used = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)
