"""Numbers of rules and codecs, and what a rule did in words."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain import codecs, rules
from trainnet.coordinator.domain.choices import BadChoice
from trainnet.coordinator.domain.weighings import Weighed, problem, told

ROBUST = [rule for rule in rules.RULES if rule != "MEAN"]


@pytest.mark.parametrize(
    ("rule", "given_numbers", "fewest", "numbers"),
    [
        ("MEAN", {}, 4, {"norm_clip": 0}),
        ("MEDIAN", {}, 25, {"byzantine": 5, "bucket_size": 1, "norm_clip": 0}),
        ("KRUM", {}, 8, {"byzantine": 1, "bucket_size": 1, "norm_clip": 0, "keep": 5}),
        ("KRUM", {"byzantine": 2, "keep": 1}, 8, {"byzantine": 2, "bucket_size": 1, "norm_clip": 0, "keep": 1}),
        (
            "CENTERED_CLIPPING",
            {"bucket_size": 2, "norm_clip": 3},
            25,
            {"byzantine": 5, "bucket_size": 2, "norm_clip": 3, "clip_radius": 3, "iterations": 1},
        ),
        # In buckets of 2 four updates are two rows: one harmful update would be half of them.
        (
            "GEOMETRIC_MEDIAN",
            {"bucket_size": 2},
            4,
            {"byzantine": 0, "bucket_size": 2, "norm_clip": 0, "iterations": 8},
        ),
    ],
)
def test_a_rule_is_completed(
    rule: str, given_numbers: Mapping[str, float], fewest: int, numbers: Mapping[str, float]
) -> None:
    assert rules.complete(rule, given_numbers, fewest) == numbers


@pytest.mark.parametrize(
    ("rule", "given_numbers", "fewest", "field", "words"),
    [
        ("MEAN", {"byzantine": 0}, 9, "byzantine", "choose one of MEDIAN, TRIMMED_MEAN, KRUM"),
        ("MEDIAN", {"clip_radius": 1.0}, 9, "clip_radius", "choose one of CENTERED_CLIPPING"),
        ("TRIMMED_MEAN", {"keep": 2}, 9, "keep", "choose one of KRUM"),
        (
            "MEDIAN",
            {"byzantine": 4},
            8,
            "byzantine",
            "at most 3 harmful of 8 updates, not 4: say byzantine=3, or .* 9 up",
        ),
        ("KRUM", {"byzantine": 2}, 6, "byzantine", "at most 1 harmful of 6 updates, not 2: .* less than 7 updates"),
        ("MEDIAN", {"byzantine": 2, "bucket_size": 2}, 8, "byzantine", "in 4 buckets, not 2: .* less than 9 updates"),
        ("KRUM", {}, 2, "rule", "needs at least 3 updates, and a round may close with 2"),
        ("KRUM", {"bucket_size": 2}, 4, "rule", "3 buckets of 2 updates, .* with 2: .* smaller buckets"),
        ("KRUM", {"keep": 6, "byzantine": 1}, 8, "keep", "keeps at most 5 of 8 updates"),
    ],
)
def test_what_a_rule_cannot_do_is_told_with_a_remedy(
    rule: str, given_numbers: Mapping[str, float], fewest: int, field: str, words: str
) -> None:
    with pytest.raises(BadChoice, match=words) as raised:
        rules.complete(rule, given_numbers, fewest)
    assert raised.value.field == field


@given(st.sampled_from(ROBUST), st.integers(1, 200), st.integers(1, 12))
def test_defaults_are_never_refused_and_what_is_said_to_suffice_does(rule: str, fewest: int, size: int) -> None:
    asked = {"bucket_size": size}
    if rules.borne(rule, rules.rows_of(fewest, size)) < 0:
        assert rule == "KRUM"
        with pytest.raises(BadChoice, match="at least 3"):
            rules.complete(rule, asked, fewest)
        return
    numbers = rules.complete(rule, asked, fewest)
    assert rules.complete(rule, numbers, fewest) == numbers
    assert 0 <= numbers["byzantine"] <= fewest / 5
    too_many = {**asked, "byzantine": rules.borne(rule, rules.rows_of(fewest, size)) + 1}
    with pytest.raises(BadChoice) as raised:
        rules.complete(rule, too_many, fewest)
    needed = int(str(raised.value).partition("less than ")[2].split()[0])
    rules.complete(rule, too_many, needed)
    with pytest.raises(BadChoice):
        rules.complete(rule, too_many, needed - 1)


def test_only_the_plain_mean_needs_no_weighing() -> None:
    assert not rules.weighs("MEAN", 0.0)
    assert rules.weighs("MEAN", 2.0)
    assert all(rules.weighs(rule, 0.0) for rule in ROBUST)


def test_codecs_are_completed() -> None:
    assert codecs.complete("FP32", {}) == {}
    assert codecs.complete("INT8", {"block_size": 64}) == {"block_size": 64}
    assert codecs.complete("TOPK", {"keep": 8}) == {"chunk_size": 4096, "keep": 8, "feedback": 1.0}


@pytest.mark.parametrize(
    ("kind", "numbers", "field", "words"),
    [
        ("BF16", {"block_size": 64}, "block_size", "BF16 has no block_size .* choose one of INT8"),
        ("INT8", {"feedback": 0.5}, "feedback", "choose one of TOPK"),
        ("TOPK", {"chunk_size": 5000}, "chunk_size", "5000 is no power of two: take 4096"),
        ("TOPK", {"chunk_size": 64, "keep": 65}, "keep", "at most chunk_size, 64"),
    ],
)
def test_what_a_codec_cannot_do_is_told(kind: str, numbers: Mapping[str, float], field: str, words: str) -> None:
    with pytest.raises(BadChoice, match=words) as raised:
        codecs.complete(kind, numbers)
    assert raised.value.field == field


def each(*factors: float, norms: tuple[float, ...] = ()) -> list[Weighed]:
    """An update in a bucket of its own for each factor."""
    return [Weighed(index, index, factor, (norms or factors)[index]) for index, factor in enumerate(factors)]


@pytest.mark.parametrize(
    ("weighed", "shards", "words"),
    [
        (each(1, 1), [0, 1], ""),
        (each(1), [0, 1], "shard 1 of the round's manifest is missing"),
        (each(1, 1), [0], "shard 1 is not in the round's manifest"),
        ([*each(1), *each(1)], [0], "weighed twice"),
        (each(math.nan), [0], "factor of shard 0"),
        (each(-0.5), [0], "factor of shard 0"),
        (each(1, norms=(math.inf,)), [0], "norm of shard 0"),
        ([Weighed(0, 1, 1.0, 1.0)], [0], "bucket 1, of at most 1"),
    ],
)
def test_reports_that_cannot_be_are_told(weighed: list[Weighed], shards: list[int], words: str) -> None:
    found = problem(weighed, shards)
    assert (words in found) if words else found == ""


def test_what_a_rule_did_in_words() -> None:
    robust = {"byzantine": 2, "bucket_size": 1, "norm_clip": 0}
    assert told("KRUM", robust, each(0.5, 0, 0.5, 0)) == "krum kept 2 of 4 updates and left out shards 1, 3"
    assert told("MEDIAN", robust, each(1, 1, 1)) == "median of 3 updates"
    assert told("TRIMMED_MEAN", robust, each(1, 1, 1, 1, 1)) == (
        "trimmed mean of 5 updates, without the 2 largest and smallest of each weight"
    )
    assert told("GEOMETRIC_MEDIAN", robust, each(0.3, 0.3, 0.1)) == (
        "geometric median of 3 updates; shard 2 counted less than half"
    )
    halves = [Weighed(0, 0, 0.25, 1), Weighed(1, 0, 0.25, 1), Weighed(2, 1, 0.5, 1)]
    assert told("CENTERED_CLIPPING", {**robust, "bucket_size": 2}, halves) == (
        "centered clipping of 3 updates in 2 buckets"
    )
    clipped = each(0.3, 0.3, 0.1, norms=(1, 1, 9))
    assert told("MEAN", {"norm_clip": 2.0}, clipped) == "shard 2 shortened to 2 times the median length"
    assert told("MEAN", {"norm_clip": 10.0}, clipped) == ""
