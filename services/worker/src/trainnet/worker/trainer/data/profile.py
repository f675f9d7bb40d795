"""What a data set looks like, for its owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from trainnet.v1.dataset_pb2 import ColumnProfile, DataProfile, SampleRow
from trainnet.worker.trainer.data.columns import as_bytes
from trainnet.worker.trainer.data.media import MediaScan

SAMPLES = 5
MAX_PROFILE_BYTES = 64 * 1024
_MAX_VALUE = 200


def sample_rows(batch: pa.RecordBatch, media: Mapping[str, MediaScan]) -> list[SampleRow]:
    """The first rows as text."""
    head = batch.slice(0, SAMPLES)
    columns = [
        [media[name].describe(value) for value in as_bytes(column).to_pylist()] if name in media else _texts(column)
        for name, column in zip(head.schema.names, head.columns, strict=True)
    ]
    return [SampleRow(values=values) for values in zip(*columns, strict=True)]


def make_profile(
    columns: Sequence[ColumnProfile], samples: Sequence[SampleRow], duplicates: tuple[int, int]
) -> DataProfile:
    """All of it, cut to MAX_PROFILE_BYTES: first the samples' texts, then the samples, then the last columns."""
    profile = DataProfile(duplicate_rows=duplicates[0], compared_rows=duplicates[1], columns=columns, samples=samples)
    longest = _MAX_VALUE
    while profile.ByteSize() > MAX_PROFILE_BYTES and longest > 12:
        longest //= 2
        for sample in profile.samples:
            sample.values[:] = [_cut(value, longest) for value in sample.values]
    if profile.ByteSize() > MAX_PROFILE_BYTES:
        del profile.samples[:]
    while profile.ByteSize() > MAX_PROFILE_BYTES:
        del profile.columns[-max(1, len(profile.columns) // 10) :]
    return profile


def _texts(column: pa.Array) -> list[str]:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return ["" if value is None else f"<{len(value)} bytes>" for value in column.to_pylist()]
    try:
        values = pc.cast(column, pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = [None if value is None else repr(value) for value in column.to_pylist()]
    return [_cut(value or "", _MAX_VALUE) for value in values]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
