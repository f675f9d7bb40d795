"""Deals rows out to many Parquet files with few of them open.

Each batch is sorted by target once. Its runs are gathered until a window is full; then each file gets its runs as a row
group, on other threads, while the next window fills.
Up to FAN_OUT files are written at once. More than that are first dealt to FAN_OUT spill files, each a run of targets,
and each of those then by itself: every row is copied log(files) / log(FAN_OUT) times, and memory is a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.files import finished_file

FAN_OUT = 48
THREADS = 2
"""Files that are encoded or hashed at once: PREPARE has a machine nearly for itself."""

_WINDOW = 32 << 20
_TARGET = "__trainnet_target"

Targets = NDArray[np.int64]
Runs = list[tuple[pa.RecordBatch, Targets]]


def writer_options(layout: pa.Schema) -> dict[str, Any]:
    """How shards are written. Bytes of images and sounds are compressed already; numbers seldom repeat."""
    media = [field.name for field in layout if pa.types.is_large_binary(field.type)]
    return {
        "compression": {field.name: "NONE" if field.name in media else "ZSTD" for field in layout},
        "use_dictionary": [field.name for field in layout if pa.types.is_dictionary(field.type)],
        "write_statistics": False,
        # Readers get the plain types, not the ones that were cheapest to write.
        "store_schema": False,
    }


class _ParquetSink:
    """One finished output; each run of rows is a row group."""

    def __init__(self, target: int, path: Path, layout: pa.Schema) -> None:
        self.target, self.path, self.rows = target, path, 0
        self._writer = pq.ParquetWriter(path, layout, **writer_options(layout))

    def add(self, runs: Runs) -> None:
        table = pa.Table.from_batches([rows for rows, _ in runs])
        self.rows += table.num_rows
        self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self) -> None:
        self._writer.close()


class _SpillSink:
    """Rows of several targets in an Arrow stream on disk."""

    def __init__(self, low: int, high: int, path: Path, layout: pa.Schema) -> None:
        self.low, self.high, self.path = low, high, path
        self._layout = layout.append(pa.field(_TARGET, pa.int64()))
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, self._layout)

    def add(self, runs: Runs) -> None:
        for rows, targets in runs:
            self._writer.write_batch(
                pa.RecordBatch.from_arrays([*rows.columns, pa.array(targets)], schema=self._layout)
            )

    def close(self) -> None:
        self._writer.close()
        self._file.close()

    def read(self) -> Iterator[tuple[pa.RecordBatch, Targets]]:
        with pa.OSFile(str(self.path), "rb") as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield batch.drop_columns([_TARGET]), batch.column(_TARGET).to_numpy()


class _Deal:
    """Deals to the targets from low up to high."""

    def __init__(self, dealer: Dealer, low: int, high: int) -> None:
        self._dealer, self._low = dealer, low
        self._width = -(-(high - low) // FAN_OUT)
        bounds = [(start, min(start + self._width, high)) for start in range(low, high, self._width)]
        self._sinks = [dealer.sink(start, end) for start, end in bounds]
        self._waiting: list[Runs] = [[] for _ in bounds]
        self._bytes = 0
        self._writing: list[Future[None]] = []

    def add(self, rows: pa.RecordBatch, targets: Targets) -> None:
        # A byte holds any of FAN_OUT buckets and sorts in one pass.
        buckets = ((targets - self._low) // self._width).astype(np.uint8)
        order = np.argsort(buckets, kind="stable")
        edges = [0, *np.cumsum(np.bincount(buckets, minlength=len(self._sinks))).tolist()]
        # Narrow indices that are known to be in bounds: five times as fast as what `take` does on its own.
        rows = pc.take(rows, pa.array(order.astype(np.int32)), boundscheck=False)
        targets = targets[order]
        for runs, start, end in zip(self._waiting, edges[:-1], edges[1:], strict=True):
            if end > start:
                runs.append((rows.slice(start, end - start), targets[start:end]))
        self._bytes += rows.nbytes
        if self._bytes >= _WINDOW:
            self._flush()

    def _flush(self) -> None:
        self._settle()
        submit = self._dealer.pool.submit
        self._writing = [submit(sink.add, runs) for sink, runs in zip(self._sinks, self._waiting, strict=True) if runs]
        self._waiting, self._bytes = [[] for _ in self._sinks], 0

    def _settle(self) -> None:
        """Waits for the window before: a file's row groups are written one after the other."""
        for written in self._writing:
            written.result()

    def finish(self) -> None:
        self._flush()
        self._settle()
        for sink in self._sinks:
            sink.close()
        self._dealer.announce([sink for sink in self._sinks if isinstance(sink, _ParquetSink)])
        for sink in self._sinks:
            if isinstance(sink, _SpillSink):
                deal = _Deal(self._dealer, sink.low, sink.high)
                for rows, targets in sink.read():
                    deal.add(rows, targets)
                    self._dealer.context.check_cancelled()
                sink.path.unlink()
                deal.finish()


class Dealer:
    """Writes one Parquet file per name; rows come with the index of the name they belong to."""

    def __init__(self, names: Sequence[str], layout: pa.Schema, context: TaskContext, pool: ThreadPoolExecutor) -> None:
        self.context = context
        self.pool = pool
        self._names, self._layout = names, layout
        self._rows = [0] * len(names)
        self._deal = _Deal(self, 0, len(names))

    def add(self, rows: pa.RecordBatch, targets: Targets) -> None:
        """Deals the next rows out."""
        self._deal.add(rows, targets)

    def finish(self) -> list[int]:
        """Writes what is left, announces every file, and answers the rows of each."""
        self._deal.finish()
        return self._rows

    def sink(self, low: int, high: int) -> _ParquetSink | _SpillSink:
        """Where rows of the targets from low up to high go."""
        if high - low == 1:
            return _ParquetSink(low, self.context.out / f"{self._names[low]}.parquet", self._layout)
        return _SpillSink(low, high, self.context.out / f"spill-{low}-{high}.arrow", self._layout)

    def announce(self, sinks: Sequence[_ParquetSink]) -> None:
        """Files are finished."""
        for sink in sinks:
            self._rows[sink.target] = sink.rows
        for output in self.pool.map(lambda sink: finished_file(self._names[sink.target], sink.path), sinks):
            self.context.output(output)
