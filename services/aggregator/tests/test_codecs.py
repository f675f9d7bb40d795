"""Updates of every codec: hostile bytes, and merges that are those of the same numbers as fp32."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.aggregator.tests.encoded import CODECS, as_fp32, random_file
from services.aggregator.tests.policies import POLICIES
from trainnet.aggregator.bench.updates import random_records
from trainnet.aggregator.check import Checker
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.codecs.int8 import Int8
from trainnet.aggregator.codecs.records import CodecError, Records
from trainnet.aggregator.codecs.topk import TopK
from trainnet.aggregator.engine import Engine
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.kernels import Scratch
from trainnet.aggregator.objects import Objects
from trainnet.client.verify import verify_round
from trainnet.runtime.store import ObjectStore
from trainnet.runtime.tensors import BUFFERS, TensorFile, build_header, layout, read_header
from trainnet.v1 import codec_pb2
from trainnet.v1.artifact_pb2 import Artifact, SignedRequest
from trainnet.v1.codec_pb2 import Codec
from trainnet.v1.job_pb2 import ManifestEntry, MergePolicy, Round
from trainnet.v1.merge_pb2 import CheckWork, Group, MergeWork, SumWork, Term

RECORDS: dict[str, tuple[Codec, Records]] = {
    "int8": (CODECS["int8"], Int8(64)),
    "topk": (CODECS["topk"], TopK(1024, 31)),
    "all of topk": (Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=64, keep=64), TopK(64, 64)),
}
TOPK = TopK(1024, 31)


def good(codec: Codec, count: int = 5) -> Any:
    return random_records(codec, count * (codec.block_size or codec.chunk_size), np.random.default_rng(1))


def accepted(records: Records, rows: Any) -> bool:
    count = len(rows) * records.elements
    try:
        return bool(np.isfinite(records.sum_of_squares(rows, 0, count, Scratch(count))))
    except CodecError:
        return False


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_is_accepted_is_finite(name: str, data: st.DataObject) -> None:
    codec, records = RECORDS[name]
    rows = good(codec)
    assert accepted(records, rows)
    flat = rows.reshape(-1)
    changes = st.lists(st.tuples(st.integers(0, len(flat) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    for place, byte in data.draw(changes):
        flat[place] = byte
    if data.draw(st.booleans()):
        rows[data.draw(st.integers(0, 4))] = data.draw(st.integers(0, 255))
    if accepted(records, rows):
        count = len(rows) * records.elements
        found = np.zeros(count)
        records.add(found, rows, 0, 3.0, first=True, scratch=Scratch(count))
        assert np.isfinite(found).all()
        if isinstance(records, TopK):
            assert np.count_nonzero(found) <= len(rows) * records.keep


@pytest.mark.parametrize(
    ("begin", "value", "reason"),
    [
        (0, 0x7F80, "magnitude is inf"),
        (2, 0x7FC1, "magnitude is nan"),
        (2, 0x8000, "magnitude is -0"),
        (0, 0xBF80, "magnitude is -1"),
    ],
)
def test_magnitudes(begin: int, value: int, reason: str) -> None:
    rows = good(CODECS["topk"])
    rows[3, begin : begin + 2] = np.frombuffer(value.to_bytes(2, "little"), np.uint8)
    with pytest.raises(CodecError, match=reason):
        TOPK.sum_of_squares(rows, 0, 5 * 1024, Scratch(5 * 1024))


def test_a_scale_that_is_too_large_is_not_finite() -> None:
    rows = good(CODECS["int8"])
    rows[2, :2] = (0x7F, 0x7F)
    assert not np.isfinite(Int8(64).sum_of_squares(rows, 0, 5 * 64, Scratch(5 * 64)))
    rows[2, :2] = (0x80, 0xFF)
    with pytest.raises(CodecError, match="scale is -inf"):
        Int8(64).sum_of_squares(rows, 0, 5 * 64, Scratch(5 * 64))


def test_places() -> None:
    """Too few, too many, beyond the chunk, equal ones, one record's in another's."""
    high = slice(TOPK.nbytes - -(-TOPK.high_bits // 8), TOPK.nbytes)

    def refused(change: Callable[[Any], None]) -> str:
        rows = good(CODECS["topk"])
        change(rows)
        with pytest.raises(CodecError) as caught:
            TOPK.sum_of_squares(rows, 0, 5 * 1024, Scratch(5 * 1024))
        return str(caught.value)

    def bits(rows: Any, row: int, ones: list[int]) -> None:
        found = np.zeros(8 * (high.stop - high.start), np.uint8)
        found[ones] = 1
        rows[row, high] = np.packbits(found, bitorder="little")

    assert "not 31 places" in refused(lambda rows: bits(rows, 1, list(range(30))))
    assert "not 31 places" in refused(lambda rows: bits(rows, 1, list(range(32))))
    assert "beyond its chunk" in refused(lambda rows: bits(rows, 1, [*range(30), TOPK.high_bits]))

    def borrowed(rows: Any) -> None:
        bits(rows, 1, list(range(30)))
        bits(rows, 2, list(range(32)))

    assert "beyond its chunk" in refused(borrowed)

    def equal(rows: Any) -> None:
        bits(rows, 4, list(range(31)))  # all high parts 0
        rows[4, 4 + 8 : high.start] = 0  # all low parts 0

    assert "do not rise" in refused(equal)


# A model with everything that does not travel in records, and one of a single run.
MIXED = [
    ("a", "F32", (40, 50)),
    ("a.mean", "F32", (17,)),
    ("n", "I64", ()),
    ("empty", "F32", (0, 4)),
    ("b", "F32", (300, 3)),
    ("m", "BOOL", (5,)),
]
PLAIN = [("w", "F32", (300, 999)), ("v", "F32", (33,))]
METADATA = {BUFFERS: '["a.mean"]'}


class Scene:
    """A base in the store and what is made of it."""

    def __init__(self, store: ObjectStore, tensors: list[tuple[str, str, tuple[int, ...]]], codec: Codec) -> None:
        self.store, self.codec, self.prefix = store, codec, f"test-{secrets.token_hex(6)}/"
        self.file = TensorFile(0, layout(tensors), METADATA)
        self.header = build_header(tensors, METADATA)
        zeros = random_file(Codec(), self.file, 0)
        self.base = self.put("base", self.header + zeros[len(zeros) - self.file.tensors[-1].end :])

    def put(self, name: str, data: bytes) -> Artifact:
        info = self.store.put(f"{self.prefix}{name}", data, create_only=False)
        url = self.store.presign_get(info.key)
        download = SignedRequest(method=url.method, url=url.url, headers=url.headers)
        return Artifact(key=info.key, digest=info.sha256, size_bytes=info.size, download=download)

    def update(self, shard: int, *, fp32: bool = False) -> Artifact:
        data = random_file(self.codec, self.file, shard + 1)
        if fp32:
            return self.put(f"fp32-{shard}", as_fp32(self.codec, self.file, data, self.header))
        return self.put(f"update-{shard}", data)

    def terms(self, *, fp32: bool = False) -> list[Term]:
        weights = [3.0, 100.0, 7.0, 1.0]
        return [Term(shard=k, update=self.update(k, fp32=fp32), weight=w) for k, w in enumerate(weights)]

    def engine(self, threads: int = 2, slice_bytes: int = 100_000) -> Engine:
        return Engine(self.store, Objects(self.store), threads=threads, slice_bytes=slice_bytes)

    def check(self, update: Artifact, bound: float = 0.0) -> Any:
        work = CheckWork(update=update, base=self.base, max_update_norm=bound, codec=self.codec)
        return Checker(self.store, Objects(self.store), slice_bytes=100_000).check(work)

    def key(self) -> str:
        return f"{self.prefix}merged-{secrets.token_hex(4)}"


@pytest.fixture(params=["mixed", "plain"])
def tensors(request: pytest.FixtureRequest) -> Any:
    return {"mixed": MIXED, "plain": PLAIN}[request.param]


def in_groups(terms: list[Term], size: int) -> list[Group]:
    groups: dict[int, list[Term]] = {}
    for term in terms:
        groups.setdefault(term.shard // size, []).append(term)
    return [Group(group=i, terms=found) for i, found in groups.items()]


@pytest.mark.parametrize("name", CODECS)
def test_merges_to_the_bytes_of_the_same_numbers(store: ObjectStore, tensors: Any, name: str) -> None:
    scene = Scene(store, tensors, CODECS[name])
    groups = in_groups(scene.terms(fp32=True), 2)
    want = scene.engine().merge(MergeWork(groups=groups, base=scene.base, key=scene.key()))
    terms = scene.terms()
    for threads, slice_bytes in ((1, 16 << 20), (2, 100_000), (3, 33_333)):
        coded = in_groups(terms[::-1], 2)
        for group in coded[:threads]:
            group.partial_key = scene.key()
            sums = SumWork(
                group=group.group, terms=group.terms, base=scene.base, key=group.partial_key, codec=scene.codec
            )
            scene.engine(threads, slice_bytes).sum(sums)
        work = MergeWork(groups=coded, base=scene.base, key=scene.key(), codec=scene.codec)
        assert scene.engine(threads, slice_bytes).merge(work).sha256 == want.sha256


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("strategy", ["fedavg", "diloco"])
def test_the_client_agrees(store: ObjectStore, tensors: Any, name: str, strategy: str) -> None:
    scene = Scene(store, tensors, CODECS[name])
    policy = POLICIES.get(strategy, MergePolicy())
    terms = scene.terms()
    work = MergeWork(
        groups=in_groups(terms, 3), base=scene.base, key=scene.key(), codec=scene.codec, policy=policy,
        optimizer_key=scene.key(),
    )  # fmt: skip
    outcome = scene.engine().merge(work)
    told = Round(
        name="jobs/j/rounds/1",
        base=scene.base,
        manifest=[ManifestEntry(shard=term.shard, update=term.update, examples=int(term.weight)) for term in terms],
        merged_sha256=outcome.sha256,
        group_size=3,
        merge=policy,
        codec=scene.codec,
        optimizer_state_sha256=outcome.state_sha256,
    )
    assert verify_round(told).matches


@pytest.mark.parametrize("name", CODECS)
def test_a_check_knows_the_norm_of_what_is_meant(store: ObjectStore, tensors: Any, name: str) -> None:
    scene = Scene(store, tensors, CODECS[name])
    coded = scene.check(scene.update(0))
    assert coded.accepted, coded
    plain = Scene(store, tensors, Codec())
    meant = plain.check(scene.update(0, fp32=True))
    assert coded.norm == pytest.approx(meant.norm, rel=1e-12)
    assert scene.check(scene.update(0), coded.norm * 0.99).reason == "NORM"


@pytest.mark.parametrize("name", CODECS)
def test_another_codec_is_said(store: ObjectStore, name: str) -> None:
    scene = Scene(store, PLAIN, CODECS[name])
    verdict = scene.check(scene.update(0, fp32=True))
    assert verdict.reason == "CODEC"
    assert f"came as 'fp32', the job's codec is {decoder_of(scene.codec, scene.file).name}" in verdict.message
    data = random_file(scene.codec, scene.file, 1)
    header = 8 + int.from_bytes(data[:8], "little")
    lying = build_header([("w", "U8", (len(data) - header,))], {"trainnet.codec": "bf16"}) + data[header:]
    assert scene.check(scene.put("lying", lying)).reason in ("CODEC", "TENSOR_MAP")


@given(data=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutations_of_a_file(store: ObjectStore, data: st.DataObject) -> None:
    """Never an exception, and what is accepted is what it says it is."""
    codec = CODECS[data.draw(st.sampled_from(sorted(CODECS)))]
    scene = Scene(store, MIXED[-4:], codec)
    file = bytearray(random_file(codec, scene.file, 1))
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del file[data.draw(st.integers(1, len(file) - 1)) :]
    verdict = scene.check(scene.put("mutated", bytes(file)))
    assert verdict.accepted or verdict.reason in {"HEADER", "TENSOR_MAP", "NOT_FINITE", "CODEC"}
    if verdict.accepted:
        found = read_header(lambda offset, size: bytes(file[offset : offset + size]), len(file))
        numbers = as_fp32(codec, scene.file, bytes(file), scene.header)
        assert found.tensors == decoder_of(codec, scene.file).tensors
        assert np.isfinite(np.frombuffer(numbers, "<f4", 900, len(scene.header) + 8)).all()


def test_a_damaged_update_is_no_merge(store: ObjectStore) -> None:
    scene = Scene(store, PLAIN, CODECS["topk"])
    (term, *_) = scene.terms()
    data = bytearray(random_file(scene.codec, scene.file, 1))
    data[-1] ^= 0xFF
    term.update.CopyFrom(scene.put("damaged", bytes(data)))
    work = MergeWork(groups=[Group(terms=[term])], base=scene.base, key=scene.key(), codec=scene.codec)
    with pytest.raises(Unmergeable, match="damaged"):
        scene.engine().merge(work)


@pytest.mark.parametrize(
    "codec",
    [
        Codec(kind=codec_pb2.CODEC_KIND_INT8),
        Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=4096),
        Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=100, keep=3),
        Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=64, keep=65),
        Codec.FromString(bytes([8, 77])),
    ],
    ids=str,
)
def test_codecs_that_mean_nothing(codec: Codec) -> None:
    with pytest.raises(Unmergeable):
        decoder_of(codec, TensorFile(0, layout(PLAIN), {}))
