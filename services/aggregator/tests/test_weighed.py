"""Merges by robust rules against a real object store: what the weighings give, whatever happens on the way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.aggregator.tests.policies import POLICIES, RULES, robust
from services.aggregator.tests.test_engine import Dying, engine, one_group
from trainnet.aggregator.check import Checker
from trainnet.aggregator.errors import Cancelled, Unmergeable
from trainnet.aggregator.objects import Objects
from trainnet.aggregator.plan import look_through
from trainnet.aggregator.rules.rule import rule_of
from trainnet.runtime.store import ObjectNotFound, ObjectStore
from trainnet.runtime.tensors import layout, numpy_dtype
from trainnet.v1.job_pb2 import MergePolicy, Weighing
from trainnet.v1.merge_pb2 import CheckWork, Group, MergeWork, Term

Model = Any
ROUND = "jobs/j/rounds/7"
WEIGHTS = [3.0, 0.0, 7.5, 1e300, 12.0, 1.0, 5.0]


@pytest.fixture(params=["small", "large"])
def model(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)


@pytest.fixture
def dying(weed: Any) -> Any:
    with Dying(weed.credentials, endpoint=weed.endpoint) as opened:
        yield opened


def terms_of(model: Model, count: int = 7) -> list[Term]:
    return [Term(shard=2 * i, update=model.update(i), weight=WEIGHTS[i]) for i in range(count)]


def work_of(model: Model, policy: MergePolicy, terms: list[Term], **more: Any) -> MergeWork:
    return MergeWork(groups=one_group(terms), base=model.base(), policy=policy, key=model.key(), **more)


class Agreed:
    """A coordinator that takes the first report."""

    def __init__(self) -> None:
        self.first: list[Weighing] = []

    def __call__(self, found: list[Weighing]) -> list[Weighing]:
        self.first = self.first or found
        return self.first[::-1]


def expected(model: Model, base: bytes, updates: list[bytes], policy: MergePolicy, told: list[Weighing]) -> bytes:
    """The merged file from the weighings, straight from ARITHMETIC.md, whole arrays at a time."""
    length, rule = 8 + int.from_bytes(base[:8], "little"), rule_of(policy)
    assert rule is not None
    out = bytearray(base)
    for tensor in layout(model.tensors):
        kind = numpy_dtype(tensor.dtype)
        sums: dict[int, Any] = {}
        for item, data in zip(told, updates, strict=True):
            row = item.bucket if rule.by_coordinate else 0
            sums.setdefault(row, None)
            if item.factor == 0.0:
                continue
            product = np.frombuffer(data[length:][tensor.begin : tensor.end], kind).astype("f8") * item.factor
            sums[row] = product if sums[row] is None else sums[row] + product
        rows: list[Any] = [np.zeros(tensor.count) if row is None else row for row in sums.values()]
        result: Any = rows[0]
        if rule.by_coordinate:
            rows = list(np.sort(rows, axis=0))
            drop = (len(rows) - 1) // 2 if rule.drop is None else rule.drop
            kept = rows[drop : len(rows) - drop]
            result = kept[0]
            for row in kept[1:]:
                result = result + row
            result = result / len(kept) + 0.0
        start = np.frombuffer(base[length:][tensor.begin : tensor.end], kind)
        whole = tensor.dtype == "I64"
        merged = start + np.rint(result).astype("i8") if whole else (start.astype("f8") + result).astype(kind)
        out[length + tensor.begin : length + tensor.end] = merged.tobytes()
    return bytes(out)


@pytest.mark.parametrize("how", [{}, {"norm_clip": 0.9}, {"bucket_size": 2, "byzantine": 1, "keep": 1}])
@pytest.mark.parametrize("rule", RULES)
def test_merges_to_the_specified_bytes(store: ObjectStore, model: Model, rule: str, how: dict[str, Any]) -> None:
    policy = (
        robust(rule, **{"byzantine": 2, **how})
        if rule != "krum" or how.get("bucket_size") != 2
        else robust(rule, **{**how, "byzantine": 0})
    )
    terms, agreed = terms_of(model), Agreed()
    work = work_of(model, policy, terms)
    outcome = engine(store).merge(work, round_name=ROUND, agree=agreed)
    assert [item.shard for item in agreed.first] == [term.shard for term in terms]
    updates = [model.read(term.update) for term in terms]
    assert model.read(outcome.merged) == expected(model, model.read(work.base), updates, policy, agreed.first)
    assert outcome.timings.keys() == {"weigh", "read", "fold", "write"}


@pytest.mark.parametrize("rule", ["median", "centered_clipping"])
@pytest.mark.parametrize("strategy", ["diloco", "fedadam"])
def test_with_an_optimiser_behind_it(store: ObjectStore, model: Model, rule: str, strategy: str) -> None:
    """The same step as the mean of a single update that is what the rule makes of them all."""
    terms, agreed = terms_of(model, 3), Agreed()
    policy = robust(rule, 1)
    same = [Term(shard=i, update=terms[0].update) for i in range(3)]
    policy.clip_radius = 1.0
    policy.MergeFrom(POLICIES[strategy])
    by_rule = engine(store).merge(work_of(model, policy, same, optimizer_key=model.key()), agree=agreed)
    if rule == "centered_clipping":
        assert sum(item.factor for item in agreed.first) == pytest.approx(1.0)
        return
    plain = work_of(model, POLICIES[strategy], [Term(shard=0, update=terms[0].update, weight=1.0)])
    plain.optimizer_key = model.key()
    mean = engine(store).merge(plain)
    assert (by_rule.sha256, by_rule.state_sha256) == (mean.sha256, mean.state_sha256)


@pytest.mark.parametrize("rule", RULES)
def test_groups_do_not_matter(store: ObjectStore, model: Model, rule: str) -> None:
    terms, policy = terms_of(model), robust(rule, 1)
    whole = work_of(model, policy, terms)
    cut = work_of(model, policy, [])
    del cut.groups[:]
    cut.groups.extend([Group(group=1, terms=terms[3:]), Group(group=0, terms=terms[:3])])
    agreed = Agreed()
    first = engine(store).merge(whole, round_name=ROUND, agree=agreed)
    assert engine(store).merge(cut, round_name=ROUND, agree=agreed).sha256 == first.sha256


@pytest.mark.timeout(300)
@given(data=st.data())
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrivals_slices_threads_and_deaths_do_not_matter(
    store: ObjectStore, dying: Dying, large: Model, data: st.DataObject
) -> None:
    rule, count = data.draw(st.sampled_from(RULES)), data.draw(st.integers(1, 7))
    most = (count - 1) // 2 if rule != "krum" else (count - 3) // 2
    if most < 0:
        return
    clip, strategy = data.draw(st.sampled_from([0.0, 0.7])), data.draw(st.sampled_from([None, *sorted(POLICIES)]))
    policy = robust(rule, data.draw(st.integers(0, most)), norm_clip=clip, keep=1)
    if strategy:
        policy.MergeFrom(POLICIES[strategy])
    terms, agreed = terms_of(large, count), Agreed()
    if rule == "mean":
        del terms[1:2]
    keys = {"optimizer_key": large.key()} if strategy else {}
    want = engine(store).merge(work_of(large, policy, terms, **keys), round_name=ROUND, agree=agreed)

    again = work_of(
        large, policy, data.draw(st.permutations(terms)), **({"optimizer_key": large.key()} if keys else {})
    )
    if data.draw(st.booleans()):
        again.weighings.extend(agreed.first)
    threads, slice_bytes = data.draw(st.integers(1, 3)), data.draw(st.integers(70_000, 3_000_000))
    cancel = threading.Event()
    dying.arm(data.draw(st.integers(1, 60)), cancel)
    try:
        found = engine(dying, threads, slice_bytes).merge(again, cancel, round_name=ROUND, agree=agreed)
    except Cancelled:
        with pytest.raises(ObjectNotFound):
            store.stat(again.key)
        found = engine(store, threads, slice_bytes).merge(again, round_name=ROUND, agree=agreed)
    assert (found.sha256, found.state_sha256) == (want.sha256, want.state_sha256)


def test_two_aggregators_find_nearly_the_same(store: ObjectStore, large: Model) -> None:
    """Each for itself, with other cuts; what one reports first counts for both."""
    terms, policy = terms_of(large), robust("geometric_median", 2, bucket_size=1, norm_clip=0.9)
    first, second = Agreed(), Agreed()
    engine(store, 1, 70_000).merge(work_of(large, policy, terms), round_name=ROUND, agree=first)
    engine(store, 3, 1 << 20).merge(work_of(large, policy, terms), round_name=ROUND, agree=second)
    for one, other in zip(first.first, second.first, strict=True):
        assert (one.shard, one.bucket) == (other.shard, other.bucket)
        assert one.factor == pytest.approx(other.factor, rel=1e-12)
        assert one.norm == pytest.approx(other.norm, rel=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_lengths_that_checks_found_are_not_found_again(store: ObjectStore, model: Model, rule: str) -> None:
    """Where they are all that the rule asks for, no update is read before the sum."""
    terms, policy = terms_of(model), robust(rule, 2, norm_clip=0.9)
    work = work_of(model, policy, terms)
    plain = Agreed()
    engine(store).weighings(look_through(work, Objects(store)), threading.Event(), ROUND, plain)
    checker = Checker(store, Objects(store), slice_bytes=1 << 20)
    for term in work.groups[0].terms:
        term.norm = checker.check(CheckWork(update=term.update, base=work.base)).norm
    plan, agreed = look_through(work, Objects(store)), Agreed()
    found = rule_of(policy)
    assert found is not None
    store.delete([term.update.key for term in terms])
    if found.compares:
        with pytest.raises(ObjectNotFound):
            engine(store).weighings(plan, threading.Event(), ROUND, agreed)
        return
    engine(store).weighings(plan, threading.Event(), ROUND, agreed)
    for one, other in zip(plain.first, agreed.first, strict=True):
        assert (one.shard, one.bucket) == (other.shard, other.bucket)
        assert one.factor == pytest.approx(other.factor, rel=1e-12)
        assert one.norm == pytest.approx(other.norm, rel=1e-12)


def test_what_counts_for_nothing_is_not_read_again(store: ObjectStore, large: Model) -> None:
    terms, policy = terms_of(large), robust("krum", 2, keep=1)
    work, agreed = work_of(large, policy, terms), Agreed()
    want = engine(store).merge(work, round_name=ROUND, agree=agreed)
    chosen = [item.shard for item in agreed.first if item.factor]
    assert len(chosen) == 1
    store.delete([term.update.key for term in terms if term.shard not in chosen])
    work.weighings.extend(agreed.first)
    work.key = large.key()
    assert engine(store).merge(work, round_name=ROUND).sha256 == want.sha256


def test_a_sum_of_nothing(store: ObjectStore, model: Model) -> None:
    policy = robust("mean", 0, norm_clip=1.0)
    work = work_of(model, policy, terms_of(model, 2))
    work.weighings.extend([Weighing(shard=0), Weighing(shard=2)])
    merged = engine(store).merge(work, round_name=ROUND)
    assert model.read(merged.merged) == model.read(work.base)


@pytest.mark.parametrize("rule", RULES)
def test_a_shard_counts_once(store: ObjectStore, small: Model, rule: str) -> None:
    terms = terms_of(small, 4)
    work = work_of(small, robust(rule, 0), terms)
    work.groups.append(Group(group=1, terms=terms[1:2]))
    with pytest.raises(Unmergeable, match="twice"):
        engine(store).merge(work, round_name=ROUND)


def test_what_no_check_accepted_reaches_no_weights(store: ObjectStore, model: Model) -> None:
    """A check refuses it; should the object have changed since, the rule that compares sees it too."""
    terms = terms_of(model)
    data = bytearray(model.read(terms[3].update))
    data[-68:-64] = np.float32("nan").tobytes()
    terms[3].update.CopyFrom(model.put("update-nan", bytes(data)))
    work = work_of(model, robust("centered_clipping", 2), terms)
    with pytest.raises(Unmergeable, match="update of shard 6 holds what is no number"):
        engine(store).merge(work, round_name=ROUND)
    with pytest.raises(ObjectNotFound):
        store.stat(work.key)


def test_too_few_updates_say_so_before_anything_is_read(store: ObjectStore, model: Model) -> None:
    work = work_of(model, robust("krum", 2), terms_of(model, 6))
    store.delete([term.update.key for term in work.groups[0].terms])
    with pytest.raises(Unmergeable, match="KRUM with byzantine=2 needs 7, 6 updates"):
        engine(store).merge(work, round_name=ROUND)
