"""A real object store for the tests: the runtime's fixtures, started once for this directory."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainnet.runtime.store import ObjectStore
from trainnet.runtime.tensors import build_header, layout, numpy_dtype, read_header
from trainnet.v1.artifact_pb2 import Artifact

Expected = Callable[..., bytes]

_SERVERS = Path(__file__).parents[2] / "runtime" / "tests" / "conftest.py"


def _servers() -> Any:
    spec = importlib.util.spec_from_file_location("runtime_test_servers", _SERVERS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """SeaweedFS, for the whole session."""
    server = _servers().Weed(tmp_path_factory.mktemp("weed"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def store(weed: Any) -> Iterator[ObjectStore]:
    with weed.store() as opened:
        yield opened


@dataclass(frozen=True)
class Model:
    """A model stored under a prefix of its own, and its updates."""

    store: ObjectStore
    prefix: str
    tensors: list[tuple[str, str, tuple[int, ...]]]

    @property
    def header(self) -> bytes:
        return build_header(self.tensors, {"format": "pt"})

    def random(self, seed: int, scale: float) -> bytes:
        """Seeded values of every tensor, F32 and I64."""
        rng = np.random.default_rng(seed)
        parts = []
        for tensor in layout(self.tensors):
            if tensor.dtype == "F32":
                parts.append((rng.standard_normal(tensor.count, np.float32) * np.float32(scale)).tobytes())
            else:
                parts.append(rng.integers(0, 9, tensor.count).astype(numpy_dtype(tensor.dtype)).tobytes())
        return self.header + b"".join(parts)

    def put(self, name: str, data: bytes) -> Artifact:
        info = self.store.put(f"{self.prefix}{name}", data, create_only=False)
        return Artifact(key=info.key, digest=info.sha256, size_bytes=info.size)

    def base(self) -> Artifact:
        return self.put("base", self.random(0, 1.0))

    def update(self, shard: int) -> Artifact:
        return self.put(f"update-{shard}", self.random(shard + 1, 0.01))

    def key(self) -> str:
        return f"{self.prefix}merged-{secrets.token_hex(4)}"

    def read(self, artifact: Artifact) -> bytes:
        return self.store.get(artifact.key, artifact.size_bytes)


def _tensors(rows: int, columns: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [("a", "F32", (rows, columns)), ("n", "I64", ()), ("b", "F32", (17,))]


@pytest.fixture
def small(store: ObjectStore) -> Model:
    """Of 8 KB: merged in memory."""
    return Model(store, f"test-{secrets.token_hex(6)}/", _tensors(40, 50))


@pytest.fixture
def large(store: ObjectStore) -> Model:
    """Of 2.4 MB: streamed."""
    return Model(store, f"test-{secrets.token_hex(6)}/", _tensors(600, 1000))


def _expected(base: bytes, updates: list[tuple[float, bytes]], group_size: int = 0) -> bytes:
    """The merged file of a model of F32 and I64, straight from ARITHMETIC.md, whole arrays at a time."""
    length = 8 + int.from_bytes(base[:8], "little")
    tensors = read_header(lambda offset, size: base[offset : offset + size], len(base)).tensors
    weights = 0.0
    for weight, _ in updates:
        weights += weight
    out = bytearray(base)
    for tensor in tensors:
        kind = numpy_dtype(tensor.dtype)
        total: Any = None
        size = group_size or len(updates)
        for begin in range(0, len(updates), size):
            group: Any = None
            for weight, data in updates[begin : begin + size]:
                product = np.frombuffer(data[length:][tensor.begin : tensor.end], kind).astype("f8") * weight
                group = product if group is None else group + product
            total = group if total is None else total + group
        mean, start = total / weights, np.frombuffer(base[length:][tensor.begin : tensor.end], kind)
        whole = tensor.dtype == "I64"
        merged = start + np.rint(mean).astype("i8") if whole else (start.astype("f8") + mean).astype(kind)
        out[length + tensor.begin : length + tensor.end] = merged.tobytes()
    return bytes(out)


@pytest.fixture
def expected() -> Expected:
    return _expected
