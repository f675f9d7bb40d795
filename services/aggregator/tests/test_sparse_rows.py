"""Sparse updates give rules the columns that matter, and nothing comes out otherwise than from all columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.tests.encoded import random_file
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.compare import Products
from trainnet.aggregator.fold import AddTerm, Combine, shares_of
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.kernels import Acc, Bytes, Scratch
from trainnet.aggregator.layout import Slice, cut
from trainnet.aggregator.rules.coordinate import combine
from trainnet.aggregator.sparse_rows import SparseRows, blocks, sparse_rows
from trainnet.runtime.tensors import TensorFile, layout
from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec

BASE = TensorFile(0, layout([("a", "F32", (3000,)), ("b", "F16", (70,)), ("n", "I64", (5,)), ("z", "F32", (900,))]), {})
FLOATS = [*range(3070), *range(3075, 3975)]


def topk(elements: int, keep: int) -> Codec:
    return Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=elements, keep=keep)


TOPK = {"few": topk(256, 1), "some": topk(64, 4), "half": topk(64, 32)}
"""Half of the numbers is not sparse."""


def updates(codec: Codec, count: int) -> tuple[Decoder, list[Bytes]]:
    """Their data sections."""
    decoder = decoder_of(codec, BASE)
    files = [np.frombuffer(random_file(codec, BASE, seed), np.uint8) for seed in range(count)]
    return decoder, [file[len(file) - decoder.data_size :] for file in files]


def terms_of(decoder: Decoder, weights: list[float], sizes: list[int]) -> list[list[AddTerm]]:
    """Rows of so many terms."""
    left = iter(weights)
    every = [[AddTerm("u", 0, decoder, next(left), False, False, True) for _ in range(size)] for size in sizes]
    return [[replace(term, first=i == 0) for i, term in enumerate(terms)] for terms in every]


def dense(rows: list[list[AddTerm]], data: list[Bytes], where: Slice) -> Acc:
    """The rows, with all columns of a slice."""
    blobs, found = iter(data), np.zeros((len(rows), where.count))
    for row, terms in zip(found, rows, strict=True):
        for term in terms:
            begin, end = term.decoder.place(where)
            term.decoder.add(
                row, next(blobs)[begin:end], where, term.weight, first=term.first, scratch=Scratch(where.count)
            )
    return found


@given(st.integers(1, 20), st.integers(0, 6), st.floats(0.0, 0.4), st.integers(0, 1000))
@settings(deadline=None, max_examples=100)
def test_columns_are_those_with_more_numbers(count: int, most: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((count, 500)) * (rng.random((count, 500)) < density)
    found = SparseRows(500, [[(np.flatnonzero(row), row[row != 0])] for row in matrix])
    expected = np.flatnonzero(np.count_nonzero(matrix, axis=0) > most)
    parts = list(found.columns_of_more(most))
    assert np.array_equal(np.concatenate([[], *(columns for columns, _ in parts)]), expected)
    assert np.array_equal(np.hstack([np.zeros((count, 0)), *(rows for _, rows in parts)]), matrix[:, expected])
    assert found.squares() == pytest.approx((matrix**2).sum(axis=1))


def test_many_columns_come_some_at_a_time() -> None:
    count, columns = 1000, 5000
    rows = [[(np.arange(columns), np.full(columns, float(i)))] for i in range(count)]
    parts = list(SparseRows(columns, rows).columns_of_more(1))
    assert len(parts) > 1
    assert np.array_equal(np.concatenate([some for some, _ in parts]), np.arange(columns))
    assert all((matrix == np.arange(count)[:, None]).all() for _, matrix in parts)


@pytest.mark.parametrize("name", TOPK)
@pytest.mark.parametrize("drop", [None, 0, 1, 3])
@pytest.mark.parametrize("sizes", [[1] * 9, [2, 2, 2, 1, 1, 0, 1], [0] * 7])
def test_coordinates_to_the_bit(name: str, drop: int | None, sizes: list[int]) -> None:
    decoder, data = updates(TOPK[name], sum(sizes))
    weights = [1.0] * 9 if max(sizes) == 1 else [0.1 * (i + 1) for i in range(sum(sizes))]
    rows = terms_of(decoder, weights, sizes)
    step = Combine(tuple(map(tuple, rows)), drop)
    for where in cut(BASE.tensors, 4 * 1100, 1100):
        parts = [blob[slice(*decoder.place(where))] for blob in data]
        folder, expected = Folder(where.count, grouped=False), np.empty(where.count)
        folder.combine(step, parts, where)
        combine(dense(rows, data, where), drop, expected)
        assert folder.total.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", TOPK)
def test_products(name: str) -> None:
    decoder, data = updates(TOPK[name], 12)
    rows = terms_of(decoder, [1.0] * 12, [1] * 12)
    products = Products([term for terms in rows for term in terms], len(FLOATS) + 5)
    for where in cut(BASE.tensors, 4 * 1100, 1100):
        products.add([blob[slice(*decoder.place(where))] for blob in data], where)
    whole = dense(rows, data, cut(BASE.tensors, 1 << 30, 1 << 30)[0])[:, FLOATS]
    assert products.sums == pytest.approx(whole @ whole.T, rel=1e-12, abs=1e-18)
    assert np.count_nonzero(products.sums - np.diag(np.diagonal(products.sums))) > 0


def test_what_is_sparse() -> None:
    """A block with integers in it is not."""
    for name, expected in (("few", True), ("some", True), ("half", False)):
        decoder, data = updates(TOPK[name], 3)
        rows = terms_of(decoder, [1.0] * 3, [1] * 3)
        for where in cut(BASE.tensors, 4 * 1100, 1100):
            parts = [blob[slice(*decoder.place(where))] for blob in data]
            plain = any(piece.dtype == "I64" for piece in where.pieces)
            assert (sparse_rows(rows, parts, where) is not None) == (expected and not plain)


def test_blocks_of_a_slice() -> None:
    """As many updates as there may be make them short."""
    decoder, data = updates(TOPK["few"], 1)
    term = terms_of(decoder, [1.0], [1])[0][0]
    where = cut(BASE.tensors[:1], 1 << 30, 1 << 30)[0]
    many = 4096 * 4
    found = list(blocks([term] * many, [data[0][slice(*decoder.place(where))]] * many, where))
    assert [block.count for block, _ in found] == [1000, 1000, 1000]
    for block, parts in found:
        assert parts[0].tobytes() == shares_of([term], [data[0]], where, block)[0].tobytes()
        assert len(parts) == many
