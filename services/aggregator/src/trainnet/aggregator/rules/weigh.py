"""From the products of a round's updates to what each counts for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.rules import gram as grams
from trainnet.aggregator.rules.buckets import buckets_of
from trainnet.aggregator.rules.centered_clipping import centered_clipping, clipped_once
from trainnet.aggregator.rules.geometric_median import geometric_median
from trainnet.aggregator.rules.gram import Gram, Vector
from trainnet.aggregator.rules.krum import krum
from trainnet.aggregator.rules.rule import Rule
from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import Weighing

Compare = Callable[[list[list[int]]], list[Gram]]
"""Finds the products of the updates of each set with each other; an update is named by its place by rising shard."""


def weigh(rule: Rule, round_name: str, weights: Mapping[int, float], compare: Compare) -> list[Weighing]:
    """What the rule makes of the updates of some shards, by rising shard, from their weights and what it has to know of
    their products. Raises Unmergeable, and what `compare` does."""
    shards = sorted(weights)
    rule.check(len(shards))
    buckets = buckets_of(round_name, shards, rule.bucket_size)
    places = np.array([buckets[shard] for shard in shards])
    lengths, too_long = np.zeros(len(shards)), np.zeros(len(shards), np.bool_)
    sets: list[list[int]] = []
    found: list[Gram] = []
    if rule.measures:
        sets = rule.together(places.tolist())
        for members, products in zip(sets, compare(sets), strict=True):
            _check_numbers(products, [shards[place] for place in members])
            gram, too_long[members] = grams.bounded(products)
            lengths[members] = grams.norms(gram)
            found.append(gram)
    clips = _clips(lengths, rule.norm_clip)
    if rule.by_weight:
        total = 0.0
        for shard in shards:
            total += weights[shard]
        factors = np.array([weights[shard] for shard in shards]) * clips / total
    else:
        factors = shares = clips / np.bincount(places)[places]
        if rule.one_step:
            squares = [shares[members] @ gram @ shares[members] for members, gram in zip(sets, found, strict=True)]
            factors = clipped_once(np.sqrt(np.maximum(squares, 0.0)), rule.clip_radius)[places] * shares
        elif rule.compares:
            means = np.zeros((rule.rows(len(shards)), len(shards)))
            means[places, np.arange(len(shards))] = shares
            factors = _coefficients(rule, grams.combined(found[0], means))[places] * shares
    if rule.measures:
        factors = np.where(too_long, 0.0, factors)
    return [
        Weighing(shard=shard, bucket=buckets[shard], factor=float(factor), norm=float(length))
        for shard, factor, length in zip(shards, factors, lengths, strict=True)
    ]


def _check_numbers(products: Gram, shards: Sequence[int]) -> None:
    wrong = np.isnan(np.diagonal(products))
    if wrong.any():
        raise Unmergeable(f"the update of shard {shards[int(np.argmax(wrong))]} holds what is no number")


def _clips(lengths: Vector, norm_clip: float) -> Vector:
    if norm_clip <= 0:
        return np.ones(len(lengths))
    return grams.shortened(lengths, norm_clip * grams.median(lengths))


def _coefficients(rule: Rule, gram: Gram) -> Vector:
    match rule.kind:
        case job_pb2.AGGREGATION_RULE_KRUM:
            return krum(gram, rule.byzantine, rule.keep)
        case job_pb2.AGGREGATION_RULE_GEOMETRIC_MEDIAN:
            return geometric_median(gram, rule.iterations)
        case job_pb2.AGGREGATION_RULE_CENTERED_CLIPPING:
            return centered_clipping(gram, rule.clip_radius, rule.iterations)
    raise Unmergeable(f"{rule.name} gives no coefficients")


def check_told(rule: Rule, shards: Sequence[int], told: Sequence[Weighing]) -> list[Weighing]:
    """Weighings that others committed, by rising shard. Raises Unmergeable where they are not of these updates."""
    found = sorted(told, key=lambda item: item.shard)
    if [item.shard for item in found] != sorted(shards):
        raise Unmergeable("the round's weighings are not those of its updates")
    for item in found:
        if not 0.0 <= item.factor <= grams.TOO_LONG:
            raise Unmergeable(f"shard {item.shard} is weighed with {item.factor}")
    rows = {item.bucket for item in found}
    if rule.by_coordinate and len(rows) < 2 * rule.byzantine + 1:
        raise Unmergeable(f"the round's weighings make {len(rows)} rows; byzantine={rule.byzantine} needs more")
    return found
