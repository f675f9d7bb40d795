"""Encoded shards, kept between rounds: a job trains the same shard again and again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.dataset_pb2 import DataSchema
from trainnet.worker.trainer.encode import Rows, read_rows

DEFAULT_BYTES = 1 << 30


class RowsCache:
    """Least recently used first out, bounded by bytes. What alone is larger than the bound is not kept."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[tuple[str, bytes], Rows] = OrderedDict()

    def get(self, artifact: Artifact, path: Path, schema: DataSchema) -> Rows:
        """The rows of an artifact that lies at `path`. Raises TaskError."""
        key = (artifact.digest, hashlib.sha256(schema.SerializeToString(deterministic=True)).digest())
        rows = self._entries.get(key)
        if rows is not None:
            self._entries.move_to_end(key)
            return rows
        rows = read_rows(path, schema)
        if rows.nbytes <= self._max_bytes:
            self._entries[key] = rows
            self._bytes += rows.nbytes
            while self._bytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= oldest.nbytes
        return rows
