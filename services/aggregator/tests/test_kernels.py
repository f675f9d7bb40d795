"""The arithmetic against independent references, for any cut of the work."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainnet.aggregator import kernels
from trainnet.aggregator.codecs.decoder import AsItIs
from trainnet.aggregator.fold import AddBase, AddTerm
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.kernels import Scratch, round_bf16
from trainnet.aggregator.layout import Slice, cut, element_count
from trainnet.runtime.tensors import TensorInfo, layout, numpy_dtype

MODEL = layout([("a", "F32", (7, 5)), ("n", "I64", ()), ("b", "BF16", (13,)), ("u", "U8", (3,)), ("h", "F16", (9,)),
                ("d", "F64", (4,)), ("m", "BOOL", (2,)), ("e", "F32", (0, 3)), ("c", "F32", (11,))])  # fmt: skip
SIZE = MODEL[-1].end
READER = AsItIs(MODEL)


def random_data(seed: int, scale: float = 1.0) -> bytes:
    rng = np.random.default_rng(seed)
    data = bytearray()
    for tensor in MODEL:
        if tensor.dtype == "BF16":
            values = (rng.standard_normal(tensor.count) * scale).astype("<f4").view("<u4") >> 16
            data += values.astype("<u2").tobytes()
        elif tensor.dtype.startswith("F"):
            data += (rng.standard_normal(tensor.count) * scale).astype(numpy_dtype(tensor.dtype)).tobytes()
        else:
            data += (
                rng.integers(0, 2 if tensor.dtype == "BOOL" else 100, tensor.count)
                .astype(numpy_dtype(tensor.dtype))
                .tobytes()
            )
    return bytes(data)


def merged(base: bytes, updates: list[tuple[float, bytes]], slices: list[Slice]) -> bytes:
    out = bytearray(base)
    total = 0.0
    for weight, _ in updates:
        total += weight
    for where in slices:
        folder = Folder(where.count, grouped=False)
        last = len(updates) - 1
        for i, (weight, data) in enumerate(updates):
            part = np.frombuffer(data, np.uint8)[where.begin : where.end]
            folder.apply(AddTerm("", 0, READER, weight, i == 0, i == last, opens=True), part, where)
        view = np.frombuffer(out, np.uint8)[where.begin : where.end]
        folder.apply(AddBase("", 0, total), view, where)
    return bytes(out)


def of(data: bytes, tensor: TensorInfo) -> bytes:
    return data[tensor.begin : tensor.end]


@given(
    st.lists(st.floats(0, 1e6, allow_nan=False).filter(lambda w: w == 0 or w > 1e-3), min_size=1, max_size=5).filter(
        any
    ),
    st.integers(8, 300),
    st.integers(1, 50),
)
@settings(deadline=None, max_examples=60)
def test_any_cut_gives_the_same_bytes(weights: list[float], max_bytes: int, max_elements: int) -> None:
    base = random_data(0)
    updates = [(weight, random_data(i + 1, 0.1)) for i, weight in enumerate(weights)]
    assert merged(base, updates, cut(MODEL, max_bytes, max_elements)) == merged(
        base, updates, cut(MODEL, 1 << 20, 1 << 20)
    )


def test_blocks_do_not_change_the_bytes() -> None:
    base, update = random_data(0), random_data(1)
    where = cut(MODEL, 1 << 20, 1 << 20)[0]
    results = set()
    for block in (1, 3, 1000):
        scratch = Scratch(block)
        acc, out = np.zeros(where.count), np.frombuffer(bytearray(base), np.uint8)
        kernels.add_term(acc, np.frombuffer(update, np.uint8), where, 3.7, first=True, scratch=scratch)
        kernels.finish(acc, out, where, 3.7, scratch)
        results.add(out.tobytes())
    assert len(results) == 1


def test_plain_numpy_agrees() -> None:
    base, weights = random_data(0), [3.0, 100.0, 7.5]
    updates = [random_data(i + 1, 0.1) for i in range(3)]
    result = merged(base, list(zip(weights, updates, strict=True)), cut(MODEL, 64, 100))
    for tensor in MODEL:
        start = np.frombuffer(of(base, tensor), numpy_dtype(tensor.dtype))
        found = np.frombuffer(of(result, tensor), numpy_dtype(tensor.dtype))
        deltas = [np.frombuffer(of(update, tensor), numpy_dtype(tensor.dtype)) for update in updates]
        if tensor.dtype == "BOOL":
            assert np.array_equal(found, start)
            continue
        if tensor.dtype == "BF16":
            deltas = [(delta.astype("<u4") << 16).view("<f4") for delta in deltas]
        if tensor.dtype == "U8":
            deltas = [delta.view("i1") for delta in deltas]
        total = deltas[0].astype("f8") * weights[0]
        total = total + deltas[1].astype("f8") * weights[1]
        total = total + deltas[2].astype("f8") * weights[2]
        mean = total / (3.0 + 100.0 + 7.5)
        if tensor.dtype in ("I64", "U8"):
            assert np.array_equal(found, (start + np.rint(mean).astype("i8")).astype(start.dtype))
        elif tensor.dtype == "BF16":
            exact = (start.astype("<u4") << 16).view("<f4").astype("f8") + mean
            assert np.array_equal(found, [nearest_bf16(value) for value in exact])
        else:
            assert np.array_equal(found, (start.astype("f8") + mean).astype(start.dtype))


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(-1, 1, width=32)), min_size=1, max_size=8),
    st.floats(-4, 4, width=32),
)
@settings(deadline=None)
def test_the_mean_is_within_one_rounding_of_the_exact_one(terms: list[tuple[int, float]], start: float) -> None:
    tensors = layout([("w", "F32", (1,))])
    where = cut(tensors, 8, 1)
    updates = [(float(weight), np.float32(delta).tobytes()) for weight, delta in terms]
    total = Fraction(sum(weight for weight, _ in terms))
    exact = Fraction(start) + sum(Fraction(weight) * Fraction(delta) for weight, delta in terms) / total
    folder = Folder(1, grouped=False)
    for i, (weight, data) in enumerate(updates):
        folder.apply(
            AddTerm("", 0, READER, weight, i == 0, i == len(updates) - 1, opens=True),
            np.frombuffer(data, np.uint8),
            where[0],
        )
    out = np.frombuffer(bytearray(np.float32(start).tobytes()), np.uint8)
    folder.apply(AddBase("", 0, float(total)), out, where[0])
    found = float(out.view("<f4")[0])
    # Half a unit in the last place of fp32, and what fp64 loses on the way.
    assert abs(Fraction(found) - exact) <= Fraction(float(np.spacing(np.float32(abs(found))))) * Fraction(
        501, 1000
    ) + Fraction(2, 2**50)


def nearest_bf16(value: float) -> int:
    """By search among the neighbours, exactly."""
    low = int(np.array([value], "<f4").view("<u4")[0]) >> 16
    candidates = [bits for bits in (low - 1, low, low + 1) if 0 <= bits <= 0xFFFF]

    def as_number(bits: int) -> float:
        return float(np.array([bits << 16], "<u4").view("<f4")[0])

    return min(
        (bits for bits in candidates if math.isfinite(as_number(bits))),
        key=lambda bits: (abs(Fraction(as_number(bits)) - Fraction(value)), bits & 1),
    )


@given(st.floats(min_value=-(2.0**120), max_value=2.0**120).filter(lambda x: x == 0 or abs(x) > 2.0**-100))
@settings(deadline=None, max_examples=300)
def test_bf16_rounds_once(value: float) -> None:
    found = int(round_bf16(np.array([value]))[0])
    if value == 0:
        assert found in (0, 0x8000)
    else:
        assert found == nearest_bf16(value)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0 + 2.0**-8 + 2.0**-40, 0x3F81),  # through fp32 this would look like a tie and round down
        (1.0 + 2.0**-8, 0x3F80),
        (1.0 + 3 * 2.0**-8, 0x3F82),
        (-0.0, 0x8000),
        (math.inf, 0x7F80),
        (-math.inf, 0xFF80),
        (1e300, 0x7F80),
        (math.nan, 0x7FC0),
    ],
)
def test_bf16_corners(value: float, bits: int) -> None:
    with np.errstate(over="ignore"):
        assert int(round_bf16(np.array([value]))[0]) == bits


def test_negative_zero_survives() -> None:
    tensors = layout([("w", "F32", (1,))])
    where = cut(tensors, 8, 1)[0]
    folder = Folder(1, grouped=False)
    minus = np.frombuffer(np.float32(-0.0).tobytes(), np.uint8)
    out = np.frombuffer(bytearray(np.float32(-0.0).tobytes()), np.uint8)
    folder.apply(AddTerm("", 0, READER, 5.0, True, True, opens=True), minus, where)
    folder.apply(AddBase("", 0, 5.0), out, where)
    assert out.tobytes() == np.float32(-0.0).tobytes()


def test_integers_saturate_in_the_mean_and_wrap_in_the_sum() -> None:
    tensors = layout([("n", "I64", (2,))])
    where = cut(tensors, 16, 2)[0]
    top = np.iinfo("i8").max
    folder = Folder(2, grouped=False)
    folder.apply(AddTerm("", 0, READER, 1.0, True, True, opens=True), np.array([top, -5], "<i8").view(np.uint8), where)
    out = np.array([2000, 3], "<i8").view(np.uint8)
    folder.apply(AddBase("", 0, 1.0), out, where)
    assert out.view("<i8").tolist() == [2000 + 2**63 - 1024 - 2**64, -2]


@given(st.integers(8, 100), st.integers(1, 40), st.integers(0, 300))
def test_slices_cover_a_model_once_between_elements(max_bytes: int, max_elements: int, header_size: int) -> None:
    slices = cut(MODEL, max_bytes, max_elements, header_size=header_size)
    assert [where.begin for where in slices] == [0, *[where.end for where in slices[:-1]]]
    assert slices[-1].end == SIZE
    assert sum(where.count for where in slices) == element_count(MODEL)
    assert all(where.nbytes <= max_bytes and where.count <= max_elements for where in slices)
    assert all(piece.end <= where.nbytes for where in slices for piece in where.pieces)


def test_slices_begin_at_round_places_of_the_file() -> None:
    tensors = layout([("w", "F32", (1000,))])
    assert [88 + where.begin for where in cut(tensors, 1024, 1000, header_size=88)] == [88, 1024, 2048, 3072]


def test_sum_of_squares_sees_every_value_that_is_not_finite() -> None:
    tensors = layout(
        [("h", "F16", (5,)), ("b", "BF16", (5,)), ("f", "F32", (5,)), ("d", "F64", (5,)), ("n", "I32", (5,))]
    )
    where = cut(tensors, 1 << 20, 1 << 20)[0]
    data = np.zeros(tensors[-1].end, np.uint8)
    data[tensors[4].begin :] = 0xFF
    assert kernels.sum_of_squares(data, where, Scratch()) == 0.0
    for tensor, patterns in zip(
        tensors[:4],
        ([0x7C00, 0x7E00], [0x7F80, 0x7FC0], [0x7F800000, 0x7FC00000], [0x7FF0 << 48, 0x7FF8 << 48]),
        strict=True,
    ):
        for pattern in patterns:
            hostile = data.copy()
            word = hostile[tensor.begin : tensor.end].view(f"<u{tensor.nbytes // 5}")
            word[3] = pattern
            assert math.isnan(kernels.sum_of_squares(hostile, where, Scratch()))
