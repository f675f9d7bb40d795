"""Merges against a real object store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.aggregator.tests.policies import POLICIES
from trainnet.aggregator.check import Checker
from trainnet.aggregator.engine import Engine
from trainnet.aggregator.errors import Cancelled, Unmergeable
from trainnet.aggregator.objects import Objects
from trainnet.aggregator.output import KeyTakenError
from trainnet.aggregator.room import Room
from trainnet.aggregator.work import Worker
from trainnet.runtime.store import ObjectNotFound, ObjectStore
from trainnet.runtime.tensors import numpy_dtype, read_header
from trainnet.v1.job_pb2 import MergePolicy
from trainnet.v1.merge_pb2 import Group, MergeTask, MergeWork, ReportMergeRequest, SumWork, Term

WEIGHTS = [3.0, 100.0, 7.5, 1.0, 12.0]
Model = Any


def engine(store: ObjectStore, threads: int = 2, slice_bytes: int = 256 * 1024) -> Engine:
    return Engine(store, Objects(store), threads=threads, slice_bytes=slice_bytes)


def terms_of(model: Model, weights: list[float] = WEIGHTS) -> list[Term]:
    return [Term(shard=i, update=model.update(i), weight=weight) for i, weight in enumerate(weights)]


def one_group(terms: list[Term]) -> list[Group]:
    return [Group(group=0, terms=terms)]


def in_groups(terms: list[Term], size: int, prefix: str = "") -> list[Group]:
    groups: dict[int, list[Term]] = {}
    for term in terms:
        groups.setdefault(term.shard // size, []).append(term)
    return [Group(group=i, terms=found, partial_key=f"{prefix}partial-{i}") for i, found in groups.items()]


@pytest.fixture(params=["small", "large"])
def model(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)


def test_merges_to_the_specified_bytes(store: ObjectStore, model: Model, expected: Callable[..., bytes]) -> None:
    base, terms = model.base(), terms_of(model)
    want = expected(model.read(base), [(term.weight, model.read(term.update)) for term in terms])
    outcome = engine(store).merge(MergeWork(groups=one_group(terms), base=base, key=model.key()))
    assert model.read(outcome.merged) == want
    assert outcome.sha256 == hashlib.sha256(want).hexdigest()
    assert outcome.merged.digest == f"sha256:{outcome.sha256}"
    assert outcome.merged.size_bytes == len(want)
    assert outcome.timings.keys() == {"read", "fold", "write"}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("slice_bytes", [65_536, 1_000_003, 16 << 20])
def test_threads_slices_and_order_do_not_matter(
    store: ObjectStore, large: Model, expected: Callable[..., bytes], threads: int, slice_bytes: int
) -> None:
    base, terms = large.base(), terms_of(large)
    want = expected(large.read(base), [(term.weight, large.read(term.update)) for term in terms])
    work = MergeWork(groups=one_group(terms[::-1]), base=base, key=large.key())
    assert large.read(engine(store, threads, slice_bytes).merge(work).merged) == want


def test_groups_with_and_without_partial_sums(store: ObjectStore, model: Model, expected: Callable[..., bytes]) -> None:
    base, terms = model.base(), terms_of(model)
    groups = in_groups(terms, 2, model.prefix)
    want = expected(model.read(base), [(term.weight, model.read(term.update)) for term in terms], group_size=2)
    keys = [model.key() for _ in range(3)]
    assert model.read(engine(store).merge(MergeWork(groups=groups, base=base, key=keys[0])).merged) == want
    first = groups[0]
    sums = SumWork(group=0, terms=first.terms, base=base, key=first.partial_key)
    made = engine(store).sum(sums)
    assert made.size_bytes == store.stat(first.partial_key).size
    assert engine(store).sum(sums) == made, "a sum that exists is right already"
    assert model.read(engine(store).merge(MergeWork(groups=groups[::-1], base=base, key=keys[1])).merged) == want
    for group in groups[1:]:
        engine(store).sum(SumWork(group=group.group, terms=group.terms, base=base, key=group.partial_key))
    assert model.read(engine(store).merge(MergeWork(groups=groups, base=base, key=keys[2])).merged) == want


def test_absent_shards_leave_no_trace(store: ObjectStore, model: Model, expected: Callable[..., bytes]) -> None:
    base, terms = model.base(), terms_of(model)
    kept = [terms[1], terms[4]]
    want = expected(model.read(base), [(term.weight, model.read(term.update)) for term in kept], group_size=1)
    groups = [Group(group=0, terms=kept[:1]), Group(group=1), Group(group=2, terms=kept[1:])]
    assert model.read(engine(store).merge(MergeWork(groups=groups, base=base, key=model.key())).merged) == want


def test_a_second_try_finds_its_own_bytes(store: ObjectStore, model: Model) -> None:
    work = MergeWork(groups=one_group(terms_of(model)), base=model.base(), key=model.key())
    first, second = engine(store).merge(work), engine(store).merge(work)
    assert (first.merged, first.sha256) == (second.merged, second.sha256)


def test_other_bytes_under_the_key_are_an_error(store: ObjectStore, model: Model) -> None:
    work = MergeWork(groups=one_group(terms_of(model)), base=model.base(), key=model.key())
    store.put(work.key, b"something else")
    with pytest.raises(KeyTakenError):
        engine(store).merge(work)


def test_the_next_round_of_a_small_model_needs_no_reads(store: ObjectStore, small: Model) -> None:
    objects = Objects(store)
    merging = Engine(store, objects, threads=2, slice_bytes=1 << 20)
    terms = terms_of(small)
    first = merging.merge(MergeWork(groups=one_group(terms), base=small.base(), key=small.key()))
    store.delete([first.merged.key, *[term.update.key for term in terms]])
    again = merging.merge(MergeWork(groups=one_group(terms), base=first.merged, key=small.key()))
    assert again.merged.size_bytes == first.merged.size_bytes


def test_cancel_leaves_nothing(store: ObjectStore, model: Model) -> None:
    cancel = threading.Event()
    cancel.set()
    work = MergeWork(groups=one_group(terms_of(model)), base=model.base(), key=model.key())
    with pytest.raises(Cancelled):
        engine(store).merge(work, cancel)
    with pytest.raises(ObjectNotFound):
        store.stat(work.key)


def test_a_missing_update_is_said(store: ObjectStore, model: Model) -> None:
    work = MergeWork(groups=one_group(terms_of(model)), base=model.base(), key=model.key())
    store.delete([work.groups[0].terms[2].update.key])
    with pytest.raises(ObjectNotFound, match="update-2"):
        engine(store).merge(work)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf")], []])
def test_weights_that_mean_nothing(store: ObjectStore, small: Model, weights: list[float]) -> None:
    work = MergeWork(groups=one_group(terms_of(small, weights)), base=small.base(), key=small.key())
    with pytest.raises(Unmergeable):
        engine(store).merge(work)


def test_a_shard_counts_once(store: ObjectStore, small: Model) -> None:
    terms = terms_of(small, [1.0])
    with pytest.raises(Unmergeable, match="twice"):
        engine(store).merge(MergeWork(groups=one_group(terms * 2), base=small.base(), key=small.key()))


def with_optimizer(model: Model, policy: MergePolicy, terms: list[Term], **work: Any) -> MergeWork:
    groups = work.pop("groups", one_group(terms))
    return MergeWork(groups=groups, policy=policy, key=model.key(), optimizer_key=model.key(), **work)


@pytest.mark.parametrize("strategy", POLICIES)
def test_the_state_is_a_file_that_others_can_read(store: ObjectStore, model: Model, strategy: str) -> None:
    policy, base, terms = POLICIES[strategy], model.base(), terms_of(model)
    outcome = engine(store).merge(with_optimizer(model, policy, terms, base=base))
    assert outcome.state is not None
    data = model.read(outcome.state)
    assert outcome.state_sha256 == hashlib.sha256(data).hexdigest()
    found = read_header(lambda offset, size: data[offset : offset + size], len(data))
    (tensor,) = found.tensors
    slots = {"fedadam": "first,second", "fedyogi": "first,second", "fedadagrad": "second"}.get(strategy, "momentum")
    assert found.metadata == {"slots": slots}
    weights = sum(rows for name, dtype, shape in model.tensors if dtype == "F32" for rows in [int(np.prod(shape))])
    assert (tensor.name, tensor.dtype, tensor.shape) == ("state", "F32", (weights, len(slots.split(","))))
    assert np.isfinite(np.frombuffer(data[found.header_size :], numpy_dtype("F32"))).all()


def test_a_report_tells_of_the_state(store: ObjectStore, small: Model) -> None:
    objects = Objects(store)
    worker = Worker(Checker(store, objects, slice_bytes=65_536), engine(store), Room(4))
    work = with_optimizer(small, POLICIES["diloco"], terms_of(small), base=small.base())
    told = worker.do(MergeTask(fence=7, merge=work), threading.Event(), list)
    assert isinstance(told, ReportMergeRequest)
    assert (told.fence, told.optimizer_state.key) == (7, work.optimizer_key)
    assert told.optimizer_state_sha256 == hashlib.sha256(small.read(told.optimizer_state)).hexdigest()
    mean = MergeWork(groups=work.groups, base=work.base, key=small.key())
    told = worker.do(MergeTask(fence=8, merge=mean), threading.Event(), list)
    assert isinstance(told, ReportMergeRequest)
    assert not told.HasField("optimizer_state")
    assert not told.optimizer_state_sha256


class Dying(ObjectStore):
    """Cancels a merge after so many reads, as if the process died there."""

    def arm(self, after: int, cancel: threading.Event) -> None:
        self.left, self.cancel = after, cancel

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        super().read_into(key, offset, view)
        self.left -= 1
        if self.left <= 0:
            self.cancel.set()


@pytest.fixture
def dying(weed: Any) -> Any:
    with Dying(weed.credentials, endpoint=weed.endpoint) as opened:
        yield opened


@pytest.mark.timeout(300)
@given(data=st.data())
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrivals_slices_threads_groups_and_deaths_do_not_matter(
    store: ObjectStore, dying: Dying, large: Model, data: st.DataObject
) -> None:
    strategy = data.draw(st.sampled_from(sorted(POLICIES)))
    weights = data.draw(st.lists(st.sampled_from([0.0, 1.0, 7.5, 1e9]), min_size=1, max_size=4).filter(any))
    base, terms = large.base(), terms_of(large, weights)
    first = engine(store).merge(with_optimizer(large, POLICIES[strategy], terms, base=base))
    state = data.draw(st.sampled_from([None, first.state]))
    whole = with_optimizer(large, POLICIES[strategy], terms, base=base, optimizer_state=state)
    want = engine(store).merge(whole)

    again = with_optimizer(
        large,
        POLICIES[strategy],
        [],
        groups=one_group(data.draw(st.permutations(terms))),
        base=base,
        optimizer_state=state,
    )
    threads, slice_bytes = data.draw(st.integers(1, 3)), data.draw(st.integers(300_000, 3_000_000))
    cancel = threading.Event()
    dying.arm(data.draw(st.integers(1, 20)), cancel)
    try:
        found = engine(dying, threads, slice_bytes).merge(again, cancel)
    except Cancelled:
        for key in (again.key, again.optimizer_key):
            with pytest.raises(ObjectNotFound):
                store.stat(key)
        found = engine(store, threads, slice_bytes).merge(again)
    assert (found.sha256, found.state_sha256) == (want.sha256, want.state_sha256)


@pytest.mark.parametrize("strategy", POLICIES)
def test_partial_sums_and_an_optimiser(store: ObjectStore, large: Model, strategy: str) -> None:
    base, terms = large.base(), terms_of(large)
    groups = in_groups(terms, 2, large.prefix)
    plain = engine(store).merge(with_optimizer(large, POLICIES[strategy], [], groups=groups, base=base))
    for group in groups:
        engine(store).sum(SumWork(group=group.group, terms=group.terms, base=base, key=group.partial_key))
    summed = engine(store).merge(with_optimizer(large, POLICIES[strategy], [], groups=groups[::-1], base=base))
    assert (plain.sha256, plain.state_sha256) == (summed.sha256, summed.state_sha256)


def test_a_state_of_another_model(store: ObjectStore, small: Model) -> None:
    work = with_optimizer(small, POLICIES["diloco"], terms_of(small), base=small.base())
    work.optimizer_state.CopyFrom(small.put("state", b"12345678"))
    with pytest.raises(Unmergeable, match="8 bytes"):
        engine(store).merge(work)
    work.ClearField("optimizer_key")
    with pytest.raises(Unmergeable, match="no key"):
        engine(store).merge(work)


def test_a_second_try_finds_its_own_state(store: ObjectStore, model: Model) -> None:
    """The first one died between its two files."""
    work = with_optimizer(model, POLICIES["fedadam"], terms_of(model), base=model.base())
    first = engine(store).merge(work)
    store.delete([work.key])
    second = engine(store).merge(work)
    assert (first.merged, first.state) == (second.merged, second.state)
