"""What a worker encodes, an aggregator and a client decode: three implementations of CODECS.md, one value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainnet.aggregator.codecs.choice import NAME, decoder_of
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.kernels import Scratch
from trainnet.aggregator.layout import cut
from trainnet.client._codecs import Update
from trainnet.runtime.tensors import BUFFERS, TensorFile, layout, read_header
from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec
from trainnet.worker.trainer.codecs.writer import UpdateWriter

BASE = layout(
    [
        ("e", "F32", (0, 3)),
        ("a", "F32", (40, 50)),
        ("a.mean", "F32", (7,)),
        ("b", "F32", (513,)),
        ("c", "F32", (3, 100)),
    ]
)
ELEMENTS = sum(tensor.count for tensor in BASE)
FILE = TensorFile(8, BASE, {BUFFERS: '["a.mean"]'})


def int8(block_size: int) -> Codec:
    return Codec(kind=codec_pb2.CODEC_KIND_INT8, block_size=block_size)


def topk(chunk_size: int, keep: int, feedback: float = 0.95) -> Codec:
    return Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=chunk_size, keep=keep, feedback=feedback)


CODECS = [
    Codec(),
    Codec(kind=codec_pb2.CODEC_KIND_BF16),
    int8(16),
    int8(256),
    int8(65536),
    topk(64, 1),
    topk(64, 64),
    topk(256, 48),
    topk(1024, 333),
    topk(4096, 64),
    topk(65536, 5),
]


class LeftOut:
    """In memory."""

    def __init__(self, before: np.ndarray | None = None) -> None:
        self._before, self._position = before, 0
        self.written: list[np.ndarray] = []

    def read(self, count: int) -> np.ndarray | None:
        self._position += count
        return self._before[self._position - count : self._position] if self._before is not None else None

    def write(self, values: np.ndarray) -> None:
        self.written.append(values.copy())


class Bytes:
    """What the client reads from."""

    name = "shard 0"

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def read(self, length: int) -> bytearray:
        self._position += length
        return bytearray(self._data[self._position - length : self._position])


def values_of(seed: int, *, ties: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(ELEMENTS) * 10.0 ** rng.integers(-30, 3)
    if ties:
        values = np.round(values / np.abs(values).max() * 3) * rng.choice([0.0, 1.0, 2.0**-140], ELEMENTS)
    return values.astype(np.float32)


def written(path: Path, codec: Codec, values: np.ndarray, left_out: LeftOut | None = None, step: int = 777) -> bytes:
    with UpdateWriter(path, BASE, codec, buffers=["a.mean"], left_out=left_out) as writer:
        for begin in range(0, len(values), step):
            writer.write(values[begin : begin + step])
        writer.finish()
    return path.read_bytes()


def aggregated(decoder: Decoder, data: bytes, slice_elements: int, parts: int) -> tuple[np.ndarray, float]:
    """All numbers, slice by slice, and their norm."""
    section = np.frombuffer(data, np.uint8)[len(data) - decoder.data_size :]
    found, squares = np.full(ELEMENTS, np.nan), 0.0
    for whole in cut(BASE, 4 * slice_elements, slice_elements):
        for where in whole.split(parts):
            begin, end = decoder.place(where)
            scratch, target = Scratch(where.count), found[where.first : where.first + where.count]
            decoder.add(target, section[begin:end], where, 1.0, first=True, scratch=scratch)
            squares += decoder.sum_of_squares(section[begin:end], where, scratch)
    return found, math.sqrt(squares)


def client_side(codec: Codec, data: bytes, stretch: int) -> np.ndarray:
    header = 8 + int.from_bytes(data[:8], "little")
    tensors: Any = [(item.begin, item.end, item.dtype, item.name, item.shape) for item in BASE]
    source: Any = Bytes(data[header:])
    update = Update(source, codec, tensors, {"a.mean"})
    file = read_header(lambda offset, size: data[offset : offset + size], len(data))
    assert update.tensors(tensors) == [(t.begin, t.end, t.dtype, t.name, t.shape) for t in file.tensors]
    found = []
    for _, _, dtype, name, shape in tensors:
        left = int(np.prod(shape))
        while left:
            found.append(update.next(name, dtype, min(left, stretch)) + (0.0 if update.sparse(name) else -0.0))
            left -= len(found[-1])
    return np.concatenate(found)


@pytest.mark.parametrize("codec", CODECS, ids=str)
@given(
    seed=st.integers(0, 2**32),
    ties=st.booleans(),
    slice_elements=st.sampled_from([100, 1000, 5000]),
    parts=st.integers(1, 3),
    step=st.sampled_from([1000, 50, 5000]),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_value(
    tmp_path: Path, codec: Codec, seed: int, ties: bool, slice_elements: int, parts: int, step: int
) -> None:
    values, left_out = values_of(seed, ties=ties), LeftOut()
    data = written(tmp_path / "update", codec, values, left_out, step)
    decoder = decoder_of(codec, FILE)
    file = read_header(lambda offset, size: data[offset : offset + size], len(data))
    assert file.tensors == decoder.tensors
    assert file.metadata.get(NAME, "fp32") == decoder.name
    found, norm = aggregated(decoder, data, slice_elements, parts)
    assert np.array_equal(found.view(np.uint64), client_side(codec, data, step).view(np.uint64))
    assert norm == pytest.approx(math.sqrt(float((found**2).sum())), rel=1e-12)
    moved = np.ones(ELEMENTS, np.bool_)
    if codec.kind in (codec_pb2.CODEC_KIND_INT8, codec_pb2.CODEC_KIND_TOPK):
        assert np.array_equal(found[2000:2007].astype(np.float32), values[2000:2007]), "buffers travel as they are"
        moved[2000:2007] = False
        assert np.array_equal((values[moved] - found[moved].astype(np.float32)), np.concatenate(left_out.written))


@pytest.mark.parametrize(
    ("codec", "error"),
    [(Codec(kind=codec_pb2.CODEC_KIND_BF16), 0.004), (int8(256), 0.01), (topk(256, 256), 0.5), (topk(256, 32), 0.9)],
    ids=str,
)
def test_little_is_lost(tmp_path: Path, codec: Codec, error: float) -> None:
    values = np.random.default_rng(1).standard_normal(ELEMENTS).astype(np.float32)
    data = written(tmp_path / "update", codec, values)
    found, _ = aggregated(decoder_of(codec, FILE), data, 5000, 1)
    assert np.linalg.norm(found - values) < error * np.linalg.norm(values)


def test_what_is_left_out_comes_later(tmp_path: Path) -> None:
    """The sum of what travelled in many rounds nears the sum of what was trained."""
    codec, rng = topk(256, 8, feedback=1.0), np.random.default_rng(2)
    direction = rng.standard_normal(ELEMENTS).astype(np.float32)
    sent, left_out = np.zeros(ELEMENTS), LeftOut()
    for _ in range(60):
        data = written(tmp_path / "update", codec, direction, left_out)
        sent += aggregated(decoder_of(codec, FILE), data, 5000, 1)[0]
        left_out = LeftOut(np.concatenate(left_out.written))
    assert np.linalg.norm(sent / 60 - direction) < 0.3 * np.linalg.norm(direction)
