"""Deals rows out to many Parquet files with few of them open.

Up to FAN_OUT files are written at once. More than that are first dealt to FAN_OUT spill files, each a run of targets,
and each of those then by itself: every row is copied log(files) / log(FAN_OUT) times, and memory is a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.files import finished_file

FAN_OUT = 48
_BUFFERED = 96 << 20
_TARGET = "__trainnet_target"

Targets = NDArray[np.int64]


class _ParquetSink:
    """One finished output; a row group is written whenever the buffer is full."""

    def __init__(self, target: int, path: Path, layout: pa.Schema, buffer_bytes: int) -> None:
        self.target, self.path, self.rows = target, path, 0
        self._layout, self._buffer_bytes = layout, buffer_bytes
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        binary = [field.name for field in layout if pa.types.is_large_binary(field.type)]
        compression = {field.name: "NONE" if field.name in binary else "ZSTD" for field in layout}
        self._writer = pq.ParquetWriter(
            path,
            layout,
            compression=compression,
            use_dictionary=[field.name for field in layout if pa.types.is_string(field.type)],
            write_statistics=False,
        )

    def add(self, rows: pa.RecordBatch, _targets: Targets) -> None:
        self.rows += rows.num_rows
        self._waiting.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= self._buffer_bytes:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._layout).combine_chunks()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._bytes = [], 0

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()


class _SpillSink:
    """Rows of several targets in an Arrow stream on disk."""

    def __init__(self, low: int, high: int, path: Path, layout: pa.Schema) -> None:
        self.low, self.high, self.path = low, high, path
        self._layout = layout.append(pa.field(_TARGET, pa.int64()))
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, self._layout)

    def add(self, rows: pa.RecordBatch, targets: Targets) -> None:
        self._writer.write_batch(pa.RecordBatch.from_arrays([*rows.columns, pa.array(targets)], schema=self._layout))

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
        buffer_bytes = max(1 << 20, _BUFFERED // len(bounds))
        self._sinks = [dealer.sink(start, end, buffer_bytes) for start, end in bounds]

    def add(self, rows: pa.RecordBatch, targets: Targets) -> None:
        buckets = (targets - self._low) // self._width
        order = np.argsort(buckets, kind="stable")
        edges = np.searchsorted(buckets[order], np.arange(len(self._sinks) + 1))
        for sink, start, end in zip(self._sinks, edges[:-1], edges[1:], strict=True):
            if end > start:
                chosen = order[start:end]
                sink.add(rows.take(pa.array(chosen)), targets[chosen])

    def finish(self) -> None:
        for sink in self._sinks:
            sink.close()
        for sink in self._sinks:
            if isinstance(sink, _ParquetSink):
                self._dealer.announce(sink)
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

    def __init__(self, names: Sequence[str], layout: pa.Schema, context: TaskContext) -> None:
        self.context = context
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

    def sink(self, low: int, high: int, buffer_bytes: int) -> _ParquetSink | _SpillSink:
        """Where rows of the targets from low up to high go."""
        if high - low == 1:
            return _ParquetSink(low, self.context.out / f"{self._names[low]}.parquet", self._layout, buffer_bytes)
        return _SpillSink(low, high, self.context.out / f"spill-{low}-{high}.arrow", self._layout)

    def announce(self, sink: _ParquetSink) -> None:
        """A file is finished."""
        self._rows[sink.target] = sink.rows
        self.context.output(finished_file(self._names[sink.target], sink.path))
