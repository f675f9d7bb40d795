"""What a rule made of a round's updates: whether a report of it is whole, and the same in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from trainnet.coordinator.domain.rounds import listed

LITTLE = 0.5
"""An update that counts less than so much of the one that counts most was held back by the rule."""


@dataclass(frozen=True)
class Weighed:
    """One update, as the rule counted it."""

    shard: int
    bucket: int
    factor: float
    norm: float


def problem(weighed: Sequence[Weighed], shards: Sequence[int]) -> str:
    """Why a report cannot be that of a round of these shards; empty where it can."""
    told = [item.shard for item in weighed]
    if sorted(told) != sorted(shards):
        missing, strange = sorted(set(shards) - set(told)), sorted(set(told) - set(shards))
        if missing:
            return f"{listed('shard', missing)} of the round's manifest {'is' if len(missing) == 1 else 'are'} missing"
        if strange:
            return f"{listed('shard', strange)} {'is' if len(strange) == 1 else 'are'} not in the round's manifest"
        return "a shard is weighed twice"
    for item in weighed:
        if not math.isfinite(item.factor) or item.factor < 0:
            return f"the factor of shard {item.shard} is {item.factor}, not a finite number from 0 up"
        if not math.isfinite(item.norm) or item.norm < 0:
            return f"the norm of shard {item.shard} is {item.norm}, not a finite number from 0 up"
        if not 0 <= item.bucket < len(weighed):
            return f"shard {item.shard} is in bucket {item.bucket}, of at most {len(weighed)}"
    return ""


def told(rule: str, numbers: Mapping[str, float], weighed: Sequence[Weighed]) -> str:
    """What the rule did, for people: `krum kept 5 of 8 updates and left out shards 3, 6, 7`."""
    parts = [_rule(rule, numbers, weighed)] if rule != "MEAN" else []
    cut = _shortened(numbers.get("norm_clip", 0.0), weighed)
    if cut:
        parts.append(f"{listed('shard', cut)} shortened to {numbers['norm_clip']:g} times the median length")
    return "; ".join(parts)


def _rule(rule: str, numbers: Mapping[str, float], weighed: Sequence[Weighed]) -> str:
    buckets = len({item.bucket for item in weighed})
    size = int(numbers.get("bucket_size", 1))
    seen = f"{len(weighed)} updates" + (f" in {buckets} buckets" if size > 1 else "")
    match rule:
        case "MEDIAN":
            return f"median of {seen}"
        case "TRIMMED_MEAN":
            ends = int(numbers["byzantine"])
            return f"trimmed mean of {seen}, without the {ends} largest and smallest of each weight"
        case "KRUM":
            out = sorted(item.shard for item in weighed if item.factor == 0)
            left = f" and left out {listed('shard', out)}" if out else ""
            return f"krum kept {len(weighed) - len(out)} of {seen}{left}"
    name = rule.lower().replace("_", " ")
    held = _held_back(weighed)
    return f"{name} of {seen}" + (f"; {listed('shard', held)} counted less than half" if held else "")


def _held_back(weighed: Sequence[Weighed]) -> list[int]:
    """Shards whose bucket counts little beside the one that counts most. A bucket that is not full has larger factors
    for the same count, so buckets are compared by their sums."""
    by_bucket: dict[int, float] = {}
    for item in weighed:
        by_bucket[item.bucket] = by_bucket.get(item.bucket, 0.0) + item.factor
    most = max(by_bucket.values())
    return sorted(item.shard for item in weighed if by_bucket[item.bucket] < LITTLE * most)


def _shortened(norm_clip: float, weighed: Sequence[Weighed]) -> list[int]:
    if norm_clip <= 0:
        return []
    longest = norm_clip * median(item.norm for item in weighed)
    return sorted(item.shard for item in weighed if item.norm > longest)
