"""Safetensors headers: what the real library writes, what strangers send."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from trainnet.runtime import tensors
from trainnet.runtime.tensors import SafetensorsError, TensorFile, TensorInfo


def read(data: bytes, **limits: int) -> TensorFile:
    return tensors.read_header(lambda offset, length: data[offset : offset + length], len(data), **limits)


def file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 5), max_size=4)
maps = st.lists(st.tuples(names, st.sampled_from(sorted(tensors.DTYPES)), shapes), max_size=8, unique_by=lambda t: t[0])
metadata = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.text(st.characters(codec="utf-8")))


@given(maps, metadata)
def test_what_we_write_we_read(specs: list[tuple[str, str, list[int]]], extra: dict[str, str]) -> None:
    header = tensors.build_header(specs, extra)
    placed = tensors.layout(specs)
    data = bytes(placed[-1].end if placed else 0)
    assert len(header) % 8 == 0
    assert header == tensors.build_header(specs, dict(reversed(extra.items())))
    found = read(header + data)
    assert found.header_size == len(header)
    assert found.metadata == extra
    assert sorted(found.tensors, key=lambda t: t.name) == sorted(placed, key=lambda t: t.name)
    assert tensors.same_map(found.tensors, placed) is None


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(data: bytes) -> None:
    with pytest.raises(SafetensorsError):
        read(struct.pack("<Q", max(0, len(data) - 3)) + data)


@given(st.data())
def test_a_changed_header_is_refused_or_still_covers_the_file(draw: st.DataObject) -> None:
    good = bytearray(tensors.build_header([("a", "F32", [2]), ("b", "BF16", [3, 2])]) + bytes(20))
    position = draw.draw(st.integers(0, len(good) - 21))
    good[position] = draw.draw(st.integers(0, 255))
    try:
        found = read(bytes(good))
    except SafetensorsError:
        return
    assert sum(tensor.nbytes for tensor in found.tensors) == len(good) - found.header_size


def test_the_real_library_agrees() -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "h": np.ones((4,), dtype=np.float16),
        "n": np.array(7, dtype=np.int64),
        "e": np.zeros((0, 3), dtype=np.float64),
    }
    theirs = save(arrays, metadata={"format": "np"})
    found = read(theirs)
    assert found.metadata == {"format": "np"}
    for tensor in found.tensors:
        start = found.header_size + tensor.begin
        array = np.frombuffer(theirs, tensors.numpy_dtype(tensor.dtype), tensor.count, start).reshape(tensor.shape)
        np.testing.assert_array_equal(array, arrays[tensor.name])
    ours = tensors.build_header([("w", "F32", (2, 3)), ("h", "F16", (4,))], {"k": "v"})
    back = load(ours + arrays["w"].tobytes() + arrays["h"].tobytes())
    np.testing.assert_array_equal(back["w"], arrays["w"])
    np.testing.assert_array_equal(back["h"], arrays["h"])


def test_bf16_is_seen_as_its_bits() -> None:
    assert tensors.numpy_dtype("BF16") == np.dtype("<u2")


HUGE = 10**40
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "TRUNCATED"),
    "length beyond the file": (struct.pack("<Q", 100) + b"{}", "TRUNCATED"),
    "length of 2^64-1": (b"\xff" * 8 + b"{}", "HEADER_TOO_LARGE"),
    "no object": (file([]), "MALFORMED"),
    "leading space": (file(b" {}"), "MALFORMED"),
    "not UTF-8": (file(b'{"\xff":1}'), "MALFORMED"),
    "trailing newline": (file(b"{}\n"), "MALFORMED"),
    "two documents": (file(b"{}{}"), "MALFORMED"),
    "deep nesting": (file(b'{"a":' + b"[" * 150_000 + b"]" * 150_000 + b"}"), "MALFORMED"),
    "nan": (file(b'{"a":NaN}'), "MALFORMED"),
    "duplicate tensor": (file(b'{"a":1,"a":2}'), "DUPLICATE_KEY"),
    "duplicate in an entry": (file(b'{"a":{"dtype":"U8","dtype":"U8"}}'), "DUPLICATE_KEY"),
    "duplicate metadata": (file(b'{"__metadata__":{"k":"1","k":"2"}}'), "DUPLICATE_KEY"),
    "metadata number": (file({"__metadata__": {"k": 1}}), "BAD_METADATA"),
    "metadata list": (file({"__metadata__": []}), "BAD_METADATA"),
    "metadata surrogate": (file({"__metadata__": {"k": "\ud800"}}), "BAD_METADATA"),
    "surrogate name": (file({"\ud800": entry()}, bytes(8)), "BAD_NAME"),
    "missing key": (file({"a": {"dtype": "F32", "shape": []}}), "MALFORMED"),
    "extra key": (file({"a": {**entry(), "x": 1}}, bytes(8)), "MALFORMED"),
    "entry is a list": (file({"a": []}), "MALFORMED"),
    "unknown dtype": (file({"a": entry("F31")}, bytes(8)), "BAD_DTYPE"),
    "dtype is a list": (file({"a": entry([])}, bytes(8)), "BAD_DTYPE"),
    "negative dim": (file({"a": entry(shape=[-2])}, bytes(8)), "BAD_SHAPE"),
    "negative dims that cancel": (file({"a": entry(shape=[-2, -1])}, bytes(8)), "BAD_SHAPE"),
    "bool dim": (file({"a": entry(shape=[True, 2])}, bytes(8)), "BAD_SHAPE"),
    "float dim": (file({"a": entry(shape=[2.0])}, bytes(8)), "MALFORMED"),
    "huge dim": (file({"a": entry(shape=[HUGE])}, bytes(8)), "BAD_SHAPE"),
    "huge dim times zero": (file({"a": entry(shape=[2**40, 2**40, 0], offsets=[0, 0])}), "BAD_SHAPE"),
    "overflow": (file({"a": entry(shape=[2**32, 2**31])}, bytes(8)), "BAD_SHAPE"),
    "many dims": (file({"a": entry(shape=[1] * 17)}, bytes(8)), "BAD_SHAPE"),
    "shape is a word": (file({"a": entry(shape="2")}, bytes(8)), "BAD_SHAPE"),
    "wrong byte count": (file({"a": entry(shape=[3])}, bytes(8)), "BAD_OFFSETS"),
    "one offset": (file({"a": entry(offsets=[8])}, bytes(8)), "BAD_OFFSETS"),
    "reversed offsets": (file({"a": entry(offsets=[8, 0])}, bytes(8)), "BAD_OFFSETS"),
    "negative offset": (file({"a": entry(offsets=[-8, 0])}, bytes(8)), "BAD_OFFSETS"),
    "huge offsets": (file({"a": entry(offsets=[HUGE, HUGE + 8])}, bytes(8)), "BAD_OFFSETS"),
    "starts late": (file({"a": entry(offsets=[4, 12])}, bytes(12)), "BAD_OFFSETS"),
    "overlap": (file({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "BAD_OFFSETS"),
    "shared bytes": (file({"a": entry(), "b": entry()}, bytes(8)), "BAD_OFFSETS"),
    "gap": (file({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)), "BAD_OFFSETS"),
    "data cut off": (file({"a": entry()}, bytes(7)), "TRUNCATED"),
    "trailing bytes": (file({"a": entry()}, bytes(9)), "TRAILING_BYTES"),
    "trailing bytes without tensors": (file({}, b"x"), "TRAILING_BYTES"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case: str) -> None:
    data, reason = HOSTILE[case]
    with pytest.raises(SafetensorsError) as caught:
        read(data)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "unit",
    [b"[],", b'"":{},', b"0,", b'\\"', b'"', b"{", b'{"a":', b"1" * 4999 + b","],
    ids=lambda unit: repr(unit[:8]),
)
def test_small_files_cannot_cost_much_memory(unit: bytes) -> None:
    size = 4 * 1024 * 1024
    data = file(b"{" + unit * (size // len(unit)) + b"}")
    tracemalloc.start()
    try:
        with pytest.raises(SafetensorsError):
            read(data, max_tensors=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * size


def test_limits() -> None:
    many = {f"t{index}": entry(shape=[0], offsets=[0, 0]) for index in range(11)}
    assert len(read(file(many), max_tensors=11).tensors) == 11
    with pytest.raises(SafetensorsError, match="TOO_MANY_TENSORS"):
        read(file(many), max_tensors=10)
    with pytest.raises(SafetensorsError, match="HEADER_TOO_LARGE"):
        read(file(many), max_header=100)
    with pytest.raises(SafetensorsError, match="100000000"):
        read(struct.pack("<Q", tensors.HEADER_HARD_CAP + 1), max_header=2**40)


def test_a_short_read_is_noticed() -> None:
    data = file({})
    with pytest.raises(SafetensorsError, match="TRUNCATED"):
        tensors.read_header(lambda offset, length: data[offset : offset + length - 1], len(data))


def test_metadata_may_hold_json() -> None:
    text = json.dumps({"nested": [{}] * 50})
    assert read(file({"__metadata__": {"config": text}}), max_tensors=1).metadata == {"config": text}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([], "'a' is missing"),
        ([TensorInfo("a", "F16", (2,), 0, 4)], "'a' is F16, expected F32"),
        ([TensorInfo("a", "F32", (2, 1), 0, 8)], "shape (2, 1), expected (2,)"),
        ([TensorInfo("a", "F32", (2,), 0, 8), TensorInfo("b", "F32", (2,), 8, 16)], "'b' is not expected"),
    ],
)
def test_the_first_difference_is_named(other: list[TensorInfo], said: str) -> None:
    difference = tensors.same_map([TensorInfo("a", "F32", (2,), 0, 8)], other)
    assert difference is not None
    assert said in difference


def test_we_write_nothing_that_we_refuse() -> None:
    for specs in ([("a", "F32", [1]), ("a", "F32", [1])], [("__metadata__", "F32", [1])], [("a", "F31", [1])]):
        with pytest.raises(SafetensorsError):
            tensors.build_header(specs)
    with pytest.raises(SafetensorsError):
        tensors.build_header([], {"k": 1})  # type: ignore[dict-item]
