"""The server optimisers' arithmetic: as the papers have it, and the same bytes whatever the cuts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.tests.policies import POLICIES
from trainnet.aggregator import fold, layout
from trainnet.aggregator.codecs.decoder import AsItIs
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.optimizer_state import StateFile, moved
from trainnet.aggregator.policy import optimizer_of
from trainnet.runtime.tensors import BUFFERS, TensorFile, build_header, numpy_dtype, read_header
from trainnet.runtime.tensors import layout as placed
from trainnet.v1.job_pb2 import MergePolicy

Tensors = list[tuple[str, str, tuple[int, ...]]]

MIXED: Tensors = [
    ("a", "F32", (37,)),
    ("steps", "I64", ()),
    ("mean", "F32", (11,)),
    ("b", "BF16", (23,)),
    ("c", "F64", (19,)),
    ("mask", "BOOL", (5,)),
    ("d", "F16", (29,)),
]


def file_of(tensors: Tensors, buffers: list[str]) -> TensorFile:
    header = build_header(tensors, {BUFFERS: json.dumps(buffers)} if buffers else None)
    size = len(header) + sum(tensor.nbytes for tensor in placed(tensors))
    return read_header(lambda offset, length: header[offset : offset + length], size)


def data_of(tensors: Tensors, seed: int, scale: float) -> bytes:
    rng, parts = np.random.default_rng(seed), []
    for tensor in placed(tensors):
        values = rng.standard_normal(tensor.count) * scale
        if tensor.dtype == "BF16":
            parts.append((values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes())
        elif tensor.dtype.startswith("F"):
            parts.append(values.astype(f"<f{tensor.nbytes // tensor.count}").tobytes())
        else:
            parts.append(rng.integers(0, 2, tensor.count).astype(numpy_dtype(tensor.dtype)).tobytes())
    return b"".join(parts)


def folded(
    file: TensorFile,
    policy: MergePolicy,
    base: bytes,
    updates: list[tuple[float, bytes]],
    state: bytes | None,
    *,
    max_bytes: int = 1 << 20,
    max_elements: int = 1 << 20,
    parts: int = 1,
) -> tuple[bytes, bytes]:
    """Merged data and new states, slice by slice and in so many stretches of each."""
    optimizer = optimizer_of(policy)
    assert optimizer is not None
    names = moved(file)
    size = StateFile.of(file, names, optimizer).elements * 4 * len(optimizer.slots)
    out, states = bytearray(base), bytearray(state or bytes(size))
    total = sum(weight for weight, _ in updates)
    last = len(updates) - 1
    steps: list[tuple[fold.Reader, Any]] = [
        (fold.AddTerm("", 0, AsItIs(file.tensors), weight, i == 0, i == last, True), data)
        for i, (weight, data) in enumerate(updates)
    ]
    steps.append((fold.Advance("state" if state else "", 0, total, optimizer), states))
    steps.append((fold.after(fold.AddBase("", 0, total)), out))
    for where in layout.cut(file.tensors, max_bytes, max_elements, stateful=names):
        for part in where.split(parts):
            folder = Folder(part.count, grouped=False)
            for step, data in steps:
                begin, end = fold.place_of(step, part)
                folder.apply(step, np.frombuffer(data, np.uint8)[begin:end], part)
    return bytes(out), bytes(states)


def published(name: str, policy: MergePolicy, deltas: list[Any]) -> list[Any]:
    """Steps of consecutive rounds as the papers write them, in fp64 throughout."""
    eta, steps = policy.server_learning_rate, []
    zeros = np.zeros_like(deltas[0])
    velocity, m = zeros, zeros
    v = np.full_like(zeros, policy.epsilon**2)
    for delta in deltas:
        gradient = -delta
        if name in ("fedavgm", "diloco"):
            velocity = policy.server_momentum * velocity + gradient
            ahead = gradient + policy.server_momentum * velocity
            steps.append(-eta * (ahead if name == "diloco" else velocity))
            continue
        beta1, beta2 = policy.beta1, policy.beta2
        m = beta1 * m + (1 - beta1) * delta
        if name == "fedadagrad":
            v = v + delta**2
        elif name == "fedyogi":
            v = v - (1 - beta2) * delta**2 * np.sign(v - delta**2)
        else:
            v = beta2 * v + (1 - beta2) * delta**2
        steps.append(eta * m / (np.sqrt(v) + policy.epsilon))
    return steps


@pytest.mark.parametrize("name", POLICIES)
def test_steps_as_published(name: str) -> None:
    tensors: Tensors = [("w", "F64", (1000,))]
    file, rng = file_of(tensors, []), np.random.default_rng(1)
    deltas = [rng.standard_normal(1000) * 0.02 for _ in range(6)]
    weights, state = np.zeros(1000).tobytes(), None
    for delta, want in zip(deltas, published(name, POLICIES[name], deltas), strict=True):
        # Two updates whose mean by weights 1 and 3 is the delta.
        updates = [(1.0, (delta * 2.5).tobytes()), (3.0, (delta * 0.5).tobytes())]
        after, state = folded(file, POLICIES[name], weights, updates, state)
        step = np.frombuffer(after) - np.frombuffer(weights)
        np.testing.assert_allclose(step, want, rtol=1e-5, atol=1e-9)
        weights = after


@pytest.mark.parametrize("name", POLICIES)
def test_buffers_and_whole_numbers_take_the_mean(name: str) -> None:
    file = file_of(MIXED, ["mean"])
    base, updates = data_of(MIXED, 0, 1.0), [(2.0, data_of(MIXED, 1, 0.1)), (5.0, data_of(MIXED, 2, 0.1))]
    after, _ = folded(file, POLICIES[name], base, updates, None)

    def values(data: bytes, tensor: Any, kind: str) -> Any:
        return np.frombuffer(data[tensor.begin : tensor.end], kind).astype("f8")

    for tensor in file.tensors:
        if tensor.name in ("mean", "steps"):
            kind = "<f4" if tensor.name == "mean" else "<i8"
            step = sum(weight * values(data, tensor, kind) for weight, data in updates) / 7.0
            step = np.rint(step) if kind == "<i8" else step
            want = (values(base, tensor, kind) + step).astype(kind)
            assert after[tensor.begin : tensor.end] == want.tobytes()
    assert moved(file) == {"a", "b", "c", "d"}


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(st.sampled_from([0.0, 1.0, 3.5, 1e-3, 1e6, 1e300]), min_size=1, max_size=4).filter(any),
    st.integers(8, 300),
    st.integers(1, 50),
    st.integers(1, 5),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_any_cut_gives_the_same_bytes(
    name: str, weights: list[float], max_bytes: int, max_elements: int, parts: int, begun: bool
) -> None:
    file, policy = file_of(MIXED, ["mean"]), POLICIES[name]
    base = data_of(MIXED, 0, 1.0)
    updates = [(weight, data_of(MIXED, i + 1, 0.1)) for i, weight in enumerate(weights)]
    state = folded(file, policy, base, updates[::-1], None)[1] if begun else None
    whole = folded(file, policy, base, updates, state)
    cuts = {"max_bytes": max_bytes, "max_elements": max_elements, "parts": parts}
    assert folded(file, policy, base, updates, state, **cuts) == whole


@given(st.sampled_from(sorted(POLICIES)), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2))
@settings(deadline=None)
def test_no_update_makes_a_state_or_a_weight_infinite(name: str, values: list[float]) -> None:
    tensors: Tensors = [("w", "F64", (1,))]
    file, weights, state = file_of(tensors, []), np.zeros(1).tobytes(), None
    for value in values:
        weights, state = folded(file, POLICIES[name], weights, [(1.0, np.array([value]).tobytes())], state)
        numbers = np.frombuffer(state, "<f4")
        assert np.isfinite(numbers).all()
        assert np.isfinite(np.frombuffer(weights)).all()
        if name not in ("fedavgm", "diloco"):
            assert numbers[-1] >= 0, "the second moment is no square"


def test_a_policy_that_is_not_whole_or_not_known() -> None:
    policy = MergePolicy()
    policy.CopyFrom(POLICIES["fedadam"])
    policy.ClearField("beta2")
    with pytest.raises(Unmergeable, match="beta2"):
        optimizer_of(policy)
    with pytest.raises(Unmergeable, match="99"):
        optimizer_of(MergePolicy.FromString(bytes([8, 99])))
    assert optimizer_of(MergePolicy()) is None


@pytest.mark.parametrize("text", ["no json", "7", '{"a": 1}', "[[]]", "[" * 5000])
def test_buffers_that_cannot_be_read(text: str) -> None:
    file = file_of(MIXED, [])
    with pytest.raises(Unmergeable, match=BUFFERS):
        moved(TensorFile(file.header_size, file.tensors, {BUFFERS: text}))
