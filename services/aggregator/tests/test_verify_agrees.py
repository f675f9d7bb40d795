"""The client's recompute and the aggregator share no code and give the same bytes, for every dtype and any grouping."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import Objects
from trainnet.client.verify import verify_round
from trainnet.runtime.store import ObjectStore
from trainnet.runtime.tensors import build_header, layout, numpy_dtype
from trainnet.v1.artifact_pb2 import Artifact, SignedRequest
from trainnet.v1.job_pb2 import ManifestEntry, Round
from trainnet.v1.merge_pb2 import Group, MergeWork, Term

DTYPES = ["F32", "BF16", "F16", "F64", "I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL"]


def model(seed: int, count: int, dtypes: list[str]) -> bytes:
    """Any bit pattern is a value of the integers; of the floats only finite ones."""
    rng = np.random.default_rng(seed)
    tensors = [(f"t{i}", dtype, (count,)) for i, dtype in enumerate(dtypes)]
    parts = [build_header(tensors, {"format": "pt"})]
    for tensor in layout(tensors):
        kind = numpy_dtype(tensor.dtype)
        if tensor.dtype == "BF16":
            parts.append((rng.standard_normal(count).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes())
        elif tensor.dtype == "BOOL":
            parts.append(rng.integers(0, 2, count).astype(kind).tobytes())
        elif tensor.dtype.startswith("F"):
            parts.append(rng.standard_normal(count).astype(kind).tobytes())
        else:
            parts.append(rng.integers(0, 256, kind.itemsize * count, np.uint8).tobytes())
    return b"".join(parts)


@pytest.mark.parametrize(("count", "dtypes"), [(333, DTYPES), (300_000, ["F32", "BF16", "I8", "F32"])])
@pytest.mark.parametrize("group_size", [0, 2])
def test_same_bytes(store: ObjectStore, count: int, dtypes: list[str], group_size: int) -> None:
    prefix = f"test-{secrets.token_hex(6)}/"

    def put(name: str, seed: int) -> Artifact:
        info = store.put(f"{prefix}{name}", model(seed, count, dtypes))
        url = store.presign_get(info.key)
        download = SignedRequest(method=url.method, url=url.url, headers=url.headers)
        return Artifact(key=info.key, digest=info.sha256, size_bytes=info.size, download=download)

    shards = [0, 1, 3, 6]
    base = put("base", 0)
    entries = [ManifestEntry(shard=k, update=put(f"u{k}", k + 1), examples=100 + 7 * k) for k in shards]
    groups: dict[int, list[Term]] = {}
    for entry in entries:
        term = Term(shard=entry.shard, update=entry.update, weight=float(entry.examples))
        groups.setdefault(entry.shard // group_size if group_size else 0, []).append(term)
    work = MergeWork(
        groups=[Group(group=k, terms=terms) for k, terms in groups.items()], base=base, key=f"{prefix}merged"
    )
    outcome = Engine(store, Objects(store), threads=2, slice_bytes=100_000).merge(work)
    told = Round(
        name="jobs/j/rounds/1",
        base=base,
        manifest=reversed(entries),
        merged_sha256=outcome.sha256,
        group_size=group_size,
    )
    found = verify_round(told)
    assert found.sha256 == outcome.sha256
    assert found.matches
    assert found.bytes_read == base.size_bytes + sum(entry.update.size_bytes for entry in entries)
