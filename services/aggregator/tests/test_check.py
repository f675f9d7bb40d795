"""Hostile updates against a real object store."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from trainnet.aggregator.check import Checker, Verdict
from trainnet.aggregator.objects import Objects
from trainnet.runtime.store import ObjectStore
from trainnet.runtime.tensors import build_header
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.merge_pb2 import CheckWork

Model = Any


@pytest.fixture(params=["small", "large"])
def model(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)


def check(store: ObjectStore, model: Model, update: Artifact, bound: float = 0.0) -> Verdict:
    work = CheckWork(update=update, base=model.base(), max_update_norm=bound)
    return Checker(store, Objects(store), slice_bytes=256 * 1024).check(work)


def hostile(model: Model, data: bytes) -> Artifact:
    stored: Artifact = model.put("hostile", data)
    return stored


def test_a_good_update_and_its_norm(store: ObjectStore, model: Model) -> None:
    data = model.random(1, 0.01)
    numbers = [np.frombuffer(data, "<f4", count, begin) for begin, count in _floats(model)]
    norm = float(np.sqrt(sum((part.astype("f8") ** 2).sum() for part in numbers)))
    verdict = check(store, model, model.put("good", data), bound=norm * 1.01)
    assert verdict.accepted
    assert verdict.norm == pytest.approx(norm, rel=1e-12)


def test_too_long_a_step(store: ObjectStore, model: Model) -> None:
    verdict = check(store, model, model.update(0), bound=1e-3)
    assert (verdict.accepted, verdict.reason) == (False, "NORM")
    assert verdict.norm > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("last", [False, True])
def test_values_that_are_not_finite(store: ObjectStore, model: Model, value: float, last: bool) -> None:
    data = bytearray(model.random(1, 0.01))
    begin, count = _floats(model)[-1 if last else 0]
    struct.pack_into("<f", data, begin + 4 * (count - 1), value)
    assert check(store, model, hostile(model, bytes(data))).reason == "NOT_FINITE"


def _floats(model: Model) -> list[tuple[int, int]]:
    """(offset in the file, elements) of the F32 tensors."""
    from trainnet.runtime.tensors import layout

    return [(len(model.header) + item.begin, item.count) for item in layout(model.tensors) if item.dtype == "F32"]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors[:-1],
        lambda tensors: [*tensors, ("extra", "F32", (3,))],
        lambda tensors: [("renamed", *tensors[0][1:]), *tensors[1:]],
        lambda tensors: [(tensors[0][0], "F32", tensors[0][2][::-1]), *tensors[1:]],
        lambda tensors: [(tensors[0][0], "I32", tensors[0][2]), *tensors[1:]],
        lambda tensors: tensors[::-1],
    ],
)
def test_another_tensor_map(store: ObjectStore, model: Model, change: Any) -> None:
    tensors = change(model.tensors)
    size = sum(int(np.prod(shape)) * (8 if dtype == "I64" else 4) for _, dtype, shape in tensors)
    verdict = check(store, model, hostile(model, build_header(tensors) + bytes(size)))
    # One tensor more than the base has is refused before the map is compared.
    assert verdict.reason in ("TENSOR_MAP", "HEADER")
    assert verdict.message


def raw(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def test_files_that_are_no_safetensors(store: ObjectStore, model: Model) -> None:
    good = model.random(1, 0.01)
    size = len(good) - len(model.header)
    text = model.header[8:].rstrip()
    twice = text[:-1] + b',"a":' + json.dumps(json.loads(text)["a"]).encode() + b"}"
    for i, data in enumerate(
        [
            raw(twice, bytes(size)),
            good[:-5],
            good + b"more",
            struct.pack("<Q", 2**63) + good[8:],
            struct.pack("<Q", 10**9) + good[8:],
            raw(b" " * 100_000 + text, bytes(size)),
            raw(text[:-1], bytes(size)),
            raw(b"[" * 5000, bytes(size)),
            b"",
            b"\x01",
        ]
    ):
        if not data:
            continue
        verdict = check(store, model, model.put(f"hostile-{i}", data))
        assert (verdict.accepted, verdict.reason) == (False, "HEADER"), (i, verdict)


def test_an_object_that_is_not_the_declared_one(store: ObjectStore, model: Model) -> None:
    update = model.update(0)
    for change in (
        {"digest": f"sha256:{'0' * 64}"},
        {"key": f"{update.key}-gone"},
        {"size_bytes": update.size_bytes + 4},
        {"size_bytes": update.size_bytes - 4},
    ):
        wrong = Artifact(key=update.key, digest=update.digest, size_bytes=update.size_bytes)
        for name, value in change.items():
            setattr(wrong, name, value)
        assert check(store, model, wrong).reason == "MISSING", change


def test_metadata_of_its_own_is_fine(store: ObjectStore, model: Model) -> None:
    data = model.random(1, 0.01)[len(model.header) :]
    verdict = check(store, model, hostile(model, build_header(model.tensors, {"made": "elsewhere"}) + data))
    assert verdict.accepted
