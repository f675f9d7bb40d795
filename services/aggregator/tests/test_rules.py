"""The rules against the papers' formulas on vectors as they are, and against updates made to do harm."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.aggregator.tests.policies import RULES, robust
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.rules import gram as grams
from trainnet.aggregator.rules.buckets import buckets_of
from trainnet.aggregator.rules.coordinate import combine
from trainnet.aggregator.rules.geometric_median import geometric_median
from trainnet.aggregator.rules.gram import Gram
from trainnet.aggregator.rules.rule import rule_of
from trainnet.aggregator.rules.weigh import Compare, check_told, weigh
from trainnet.v1.job_pb2 import MergePolicy, Weighing

Vectors = NDArray[np.float64]
ROUND = "jobs/j/rounds/3"


def weighings(vectors: Vectors, policy: MergePolicy, weights: list[float] | None = None) -> list[Weighing]:
    rule = rule_of(policy)
    assert rule is not None
    return weigh(rule, ROUND, dict(enumerate(weights or [1.0] * len(vectors))), products_of(vectors))


def products_of(vectors: Vectors) -> Compare:
    def compare(sets: list[list[int]]) -> list[Gram]:
        with np.errstate(all="ignore"):
            return [vectors[members] @ vectors[members].T for members in sets]

    return compare


def result(vectors: Vectors, policy: MergePolicy, weights: list[float] | None = None) -> Vectors:
    """What a rule makes of updates, from its weighings."""
    told = weighings(vectors, policy, weights)
    rule = rule_of(policy)
    assert rule is not None
    scaled = [item.factor * vector for item, vector in zip(told, vectors, strict=True)]
    if not rule.by_coordinate:
        return np.asarray(np.sum(scaled, axis=0))
    rows = np.zeros((max(item.bucket for item in told) + 1, vectors.shape[1]))
    for item, vector in zip(told, scaled, strict=True):
        rows[item.bucket] += vector
    out = np.empty(vectors.shape[1])
    combine(rows, rule.drop, out)
    return out


def random(seed: int, count: int, size: int = 40) -> Vectors:
    """Updates that agree by about half, as those of one round do."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(size) + rng.standard_normal((count, size))


def published(rule: str, vectors: Vectors, policy: MergePolicy) -> Vectors:
    """As the papers have it, on the vectors themselves."""
    count = len(vectors)
    match rule:
        case "median":
            return np.asarray(np.median(vectors, axis=0))
        case "trimmed_mean":
            kept = np.sort(vectors, axis=0)[policy.byzantine : count - policy.byzantine]
            return np.asarray(kept.mean(axis=0))
        case "krum":
            squares = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
            scores = [np.sort(np.delete(row, i))[: count - policy.byzantine - 2].sum() for i, row in enumerate(squares)]
            return np.asarray(vectors[np.argsort(scores)[: policy.keep]].mean(axis=0))
        case "geometric_median":
            lengths = np.linalg.norm(vectors, axis=1)
            point = (vectors * np.minimum(1.0, np.median(lengths) / lengths)[:, None]).mean(axis=0)
            for _ in range(policy.iterations):
                pulls = 1.0 / np.linalg.norm(vectors - point, axis=1)
                point = (vectors * pulls[:, None]).sum(axis=0) / pulls.sum()
            return np.asarray(point)
        case "centered_clipping" | "one_step":
            centre = np.zeros(vectors.shape[1])
            for _ in range(policy.iterations):
                ways = vectors - centre
                lengths = np.linalg.norm(ways, axis=1)
                limit = policy.clip_radius * np.median(lengths)
                centre = centre + (ways * np.minimum(1.0, limit / lengths)[:, None]).mean(axis=0)
            return centre
    raise AssertionError(rule)


@pytest.mark.parametrize("count", [7, 8, 25])
@pytest.mark.parametrize("rule", RULES[1:])
def test_as_published(rule: str, count: int) -> None:
    vectors, policy = random(count, count), robust(rule, 2)
    np.testing.assert_allclose(result(vectors, policy), published(rule, vectors, policy), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", RULES[1:])
def test_the_published_rule_of_clipped_and_bucketed_updates(rule: str) -> None:
    vectors, policy = random(1, 21), robust(rule, 2, bucket_size=2, norm_clip=0.8)
    vectors[3] *= 100.0
    lengths = np.linalg.norm(vectors, axis=1)
    clipped = vectors * np.minimum(1.0, 0.8 * np.median(lengths) / lengths)[:, None]
    buckets = buckets_of(ROUND, range(21), 2)
    means = np.array([clipped[[shard for shard in range(21) if buckets[shard] == k]].mean(axis=0) for k in range(11)])
    np.testing.assert_allclose(result(vectors, policy), published(rule, means, policy), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose([item.norm for item in weighings(vectors, policy)], lengths, rtol=1e-12)


def test_the_mean_of_clipped_updates() -> None:
    vectors, weights = random(2, 5), [3.0, 0.0, 100.0, 7.5, 1e6]
    lengths = np.linalg.norm(vectors, axis=1)
    clipped = vectors * np.minimum(1.0, 1.1 * np.median(lengths) / lengths)[:, None]
    want = (clipped * np.array(weights)[:, None]).sum(axis=0) / sum(weights)
    np.testing.assert_allclose(result(vectors, robust("mean", 0, norm_clip=1.1), weights), want, rtol=1e-12)


HUGE = st.sampled_from([0.0, 1e-30, 1.0, 1e3, 1e9, 1e30, 1e200, 1e300, -1.0, -1e6, -1e30, -1e300])


@given(st.sampled_from(RULES[1:]), st.integers(0, 10_000), st.lists(HUGE, max_size=5), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_harmful_updates_do_not_lead_beyond_the_honest_ones(
    rule: str, seed: int, harm: list[float], together: bool, clipped: bool
) -> None:
    honest = random(seed, 20)
    rng = np.random.default_rng(seed)
    towards = rng.standard_normal(honest.shape[1])
    harmful = [size * (towards if together else rng.standard_normal(honest.shape[1])) for size in harm]
    vectors = np.array([*honest, *harmful])
    policy = robust(rule, 5 if harm else 0, norm_clip=1.0 if clipped else 0.0)
    found = result(vectors, policy)
    if rule in ("median", "trimmed_mean"):
        assert (found >= np.minimum(honest.min(axis=0), 0.0 if clipped else np.inf)).all()
        assert (found <= np.maximum(honest.max(axis=0), 0.0 if clipped else -np.inf)).all()
    # The centre of the honest ones, give or take what one of them is away from it.
    centre = honest.mean(axis=0)
    furthest = np.linalg.norm(honest - centre, axis=1).max()
    assert np.linalg.norm(found - centre) <= 1.5 * furthest


@given(st.sampled_from(RULES), st.integers(1, 9), st.integers(1, 3), st.sampled_from([0.0, 0.5, 2.0]), st.data())
@settings(deadline=None, max_examples=100)
def test_a_common_update_is_the_result(rule: str, count: int, size: int, clip: float, data: st.DataObject) -> None:
    """However few there are, and if it is nothing at all."""
    scale = data.draw(st.sampled_from([0.0, 1e-150, 1.0, 1e30]))
    vectors = np.repeat(random(1, 1) * scale, count, axis=0)
    if rule == "krum" and -(-count // size) < 3:
        return
    policy = robust(rule, 0, bucket_size=size, norm_clip=clip, keep=1)
    if rule in ("centered_clipping", "one_step"):
        policy.clip_radius = 1.0
    shorter = clip if 0.0 < clip < 1.0 else 1.0
    np.testing.assert_allclose(result(vectors, policy), vectors[0] * shorter, rtol=1e-6)


@given(st.permutations(range(9)), st.sampled_from(RULES))
@settings(deadline=None, max_examples=50)
def test_the_order_of_arrival_does_not_matter(order: list[int], rule: str) -> None:
    vectors, policy = random(5, 9), robust(rule, 2, norm_clip=1.1)
    found = rule_of(policy)
    assert found is not None
    weights = {shard: 1.0 + shard for shard in range(9)}
    arrived = {shard: weights[shard] for shard in order}
    products = products_of(vectors)
    assert weigh(found, ROUND, arrived, products) == weigh(found, ROUND, weights, products)


@given(st.sampled_from(RULES), st.integers(3, 20), st.integers(1, 4), st.integers(0, 1000))
@settings(deadline=None, max_examples=100)
def test_products_it_does_not_ask_for_count_for_nothing(rule: str, count: int, size: int, seed: int) -> None:
    """Those of updates that are in different sets."""
    policy = robust(rule, 0, bucket_size=min(size, count // 3), norm_clip=0.9, keep=1)
    found, vectors = rule_of(policy), random(seed, count)
    assert found is not None
    buckets = buckets_of(ROUND, range(count), found.bucket_size)
    sets = found.together([buckets[shard] for shard in range(count)])
    assert sorted(place for members in sets for place in members) == list(range(count))
    # Turned each into directions of its own, updates of different sets have other products than before.
    turned = np.zeros((count, len(sets) * vectors.shape[1]))
    for i, members in enumerate(sets):
        turned[members, i * vectors.shape[1] : (i + 1) * vectors.shape[1]] = vectors[members]
    for one, other in zip(weighings(vectors, policy), weighings(turned, policy), strict=True):
        assert one.factor == pytest.approx(other.factor, rel=1e-12)
        assert one.norm == pytest.approx(other.norm, rel=1e-12)


@given(
    st.integers(1, 40).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(0, (rows - 1) // 2))),
    st.sampled_from(["f4", "f8"]),
    st.booleans(),
    st.sampled_from([1.0, 0.3, 0.02]),
    st.integers(0, 1000),
)
@settings(deadline=None, max_examples=200)
def test_coordinates_to_the_bit(rows: tuple[int, int], dtype: str, median: bool, density: float, seed: int) -> None:
    count, drop = rows
    rng = np.random.default_rng(seed)
    values = (rng.integers(-3, 4, (count, 50)) * rng.choice([0.1, -1e-40, 1e30], (count, 50))).astype(dtype)
    values[rng.random(values.shape) >= density] = -0.0
    out, shuffled = np.empty(50), np.empty(50)
    combine(values.copy(), None if median else drop, out)
    combine(rng.permutation(values), None if median else drop, shuffled)
    assert out.tobytes() == shuffled.tobytes()
    assert out.tobytes() == np.array([naive(column, None if median else drop) for column in values.T]).tobytes()


def naive(column: Any, drop: int | None) -> float:
    ordered = sorted(float(value) for value in column)
    drop = (len(ordered) - 1) // 2 if drop is None else drop
    kept = ordered[drop : len(ordered) - drop]
    total = kept[0]
    for value in kept[1:]:
        total += value
    return total / len(kept) + 0.0


def test_buckets_are_drawn_by_lot() -> None:
    shards = [0, 2, 3, 7, 11]
    order = sorted(shards, key=lambda shard: hashlib.sha256(f"{ROUND}/{shard}".encode()).hexdigest())
    assert buckets_of(ROUND, shards, 2) == {shard: i // 2 for i, shard in enumerate(order)}
    assert buckets_of("jobs/j/rounds/4", shards, 2) != buckets_of(ROUND, shards, 2)


@pytest.mark.parametrize(
    ("rule", "count", "byzantine", "size"),
    [("median", 4, 2, 1), ("trimmed_mean", 2, 1, 1), ("krum", 6, 2, 1), ("krum", 2, 0, 1),
     ("geometric_median", 8, 2, 2), ("centered_clipping", 1, 1, 1), ("median", 0, 0, 1)],
)  # fmt: skip
def test_too_few_updates_are_said(rule: str, count: int, byzantine: int, size: int) -> None:
    with pytest.raises(Unmergeable, match=r"needs \d+|no updates"):
        weighings(np.ones((count, 3)), robust(rule, byzantine, bucket_size=size))


def test_policies_that_are_not_whole_or_not_known() -> None:
    policy = robust("centered_clipping", 1)
    policy.ClearField("clip_radius")
    with pytest.raises(Unmergeable, match="clip_radius"):
        rule_of(policy)
    unknown = MergePolicy()
    unknown.ParseFromString(bytes([8 << 3, 99]))
    with pytest.raises(Unmergeable, match="99"):
        rule_of(unknown)
    assert rule_of(MergePolicy()) is None
    with pytest.raises(Unmergeable, match="keep 9"):
        weighings(random(1, 7), robust("krum", 1, keep=9))


def test_what_is_no_number_is_said() -> None:
    vectors = random(1, 5)
    vectors[2, 7] = np.nan
    with pytest.raises(Unmergeable, match="shard 2 holds what is no number"):
        weighings(vectors, robust("geometric_median", 1))


def test_weighings_of_other_updates_are_refused() -> None:
    policy = robust("median", 1)
    rule, told = rule_of(policy), weighings(random(1, 3), policy)
    assert rule is not None
    assert check_told(rule, [0, 1, 2], told[::-1]) == told
    with pytest.raises(Unmergeable, match="not those"):
        check_told(rule, [0, 1, 3], told)
    told[1].factor = float("nan")
    with pytest.raises(Unmergeable, match="nan"):
        check_told(rule, [0, 1, 2], told)
    told[1].factor = 1.0
    for item in told:
        item.bucket = 0
    with pytest.raises(Unmergeable, match="1 row"):
        check_told(rule, [0, 1, 2], told)


def test_updates_whose_length_is_no_number_count_for_nothing() -> None:
    vectors = random(1, 7)
    vectors[2] *= 1e250
    for rule in ("mean", "krum", "geometric_median", "centered_clipping", "one_step"):
        told = weighings(vectors, robust(rule, 1))
        assert (told[2].factor, told[2].norm) == (0.0, grams.TOO_LONG)
        assert all(np.isfinite([item.factor, item.norm]).all() for item in told)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), buckets=st.integers(1, 3))
def test_buckets_whose_members_cancel(seed: int, buckets: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.standard_normal((2 * buckets, 40))
    vectors = np.concatenate([pairs, -pairs[:buckets] - pairs[buckets:]])
    gram = grams.combined(vectors @ vectors.T, np.tile(np.eye(buckets), 3) / 3)
    assert np.isfinite(grams.norms(gram)).all()
    assert np.isfinite(geometric_median(gram, 8)).all()
