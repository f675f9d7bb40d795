"""A sample of the training rows' text, for tokenizers: the rows of the smallest hashes that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainnet.worker.protocol import OutputFile
from trainnet.worker.trainer.data.permutation import mix
from trainnet.worker.trainer.files import finished_file

MAX_BYTES = 16 << 20
_MAX_CHARACTERS = 1 << 16  # of one value: a tokenizer learns no more from a longer one
_HASH = "__trainnet_hash"


class Sample:
    """Keeps at most twice MAX_BYTES while rows come, and answers in the order of the file."""

    def __init__(self, names: list[str], seed: int) -> None:
        self._names = names
        self._key = np.random.SeedSequence([seed % 2**64, len(names)]).generate_state(1, np.uint64)[0]
        self._kept: pa.Table | None = None
        self._bound = np.uint64(2**64 - 1)
        self._next = 0

    def add(self, rows: pa.RecordBatch, training: NDArray[np.bool_]) -> None:
        """Takes the next rows, and which of them are for training."""
        numbers = np.arange(self._next, self._next + rows.num_rows, dtype=np.uint64)
        self._next += rows.num_rows
        hashes = mix(numbers ^ self._key)
        chosen = np.flatnonzero(training & (hashes <= self._bound))
        if not len(chosen):
            return
        texts = [
            pc.utf8_slice_codeunits(rows.column(name).take(pa.array(chosen)), 0, _MAX_CHARACTERS)
            for name in self._names
        ]
        new = pa.table([*texts, pa.array(hashes[chosen])], names=[*self._names, _HASH])
        self._kept = new if self._kept is None else pa.concat_tables([self._kept, new])
        if self._kept.nbytes > 2 * MAX_BYTES:
            self._prune(self._kept)

    def _prune(self, kept: pa.Table) -> None:
        """Keeps the smallest hashes that fit together; rows above them need not be looked at any more."""
        hashes = kept.column(_HASH).to_numpy()
        sizes = np.full(len(hashes), 8, np.int64)
        for name in self._names:
            lengths = pc.fill_null(pc.binary_length(kept.column(name)), 0)
            sizes += 4 + lengths.to_numpy().astype(np.int64)
        order = np.argsort(hashes)
        fit = max(1, int(np.searchsorted(np.cumsum(sizes[order]), MAX_BYTES, side="right")))
        if fit < len(order):
            self._bound = hashes[order[fit - 1]]
            self._kept = kept.take(pa.array(np.sort(order[:fit]))).combine_chunks()

    def write(self, path: Path) -> OutputFile:
        """Writes the sample."""
        if self._kept is not None:
            self._prune(self._kept)
        empty = pa.table({name: pa.array([], pa.string()) for name in self._names})
        table = empty if self._kept is None else self._kept.select(self._names)
        pq.write_table(table, path, compression="ZSTD", write_statistics=False, store_schema=False)
        return finished_file("sample", path)
