"""Robust rules for whoever verifies: an implementation of its own of services/aggregator/ARITHMETIC.md, "Rules", which
shares no code with the aggregator's.

Given the weighings of a round its bytes have one right value. The weighings themselves are compared with a recompute
within the tolerance of that page: whoever made them took products of updates by a library whose last bits differ.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainnet.client._staleness import weight_of
from trainnet.client._verify_source import VerifyError
from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import AggregationRule, ManifestEntry, MergePolicy, Round

Doubles = NDArray[np.float64]

_BY_COORDINATE = (job_pb2.AGGREGATION_RULE_MEDIAN, job_pb2.AGGREGATION_RULE_TRIMMED_MEAN)
_MEANS = (job_pb2.AGGREGATION_RULE_UNSPECIFIED, job_pb2.AGGREGATION_RULE_MEAN)

_CLOSE = 1e-9
"""Of norms and of factors that come from norms, relative."""
_SAME_SUM = 1e-6
"""How far a sum of updates may be off, in median lengths."""
_TOO_LONG = 2.0**500


@dataclass(frozen=True)
class Rule:
    """The rule of a round, and what its manifest says that it made of each update."""

    policy: MergePolicy
    round_name: str
    round_number: int
    entries: Sequence[ManifestEntry]
    """By rising shard."""

    @classmethod
    def of(cls, found: Round) -> Rule | None:
        """None for the plain mean. Raises VerifyError for a rule that this client does not know, and for a manifest
        that does not say what it made of the updates."""
        if found.merge.rule not in AggregationRule.values():
            raise VerifyError(f"{found.name} was merged by a newer rule, which this client does not know: update it")
        if found.merge.rule in _MEANS and not found.merge.norm_clip > 0:
            return None
        entries = sorted(found.manifest, key=lambda entry: entry.shard)
        for entry in entries:
            if not entry.HasField("weighing") or entry.weighing.shard != entry.shard:
                raise VerifyError(f"{found.name} does not say what its rule made of shard {entry.shard}")
            if not 0 <= entry.weighing.factor < math.inf:
                raise VerifyError(f"shard {entry.shard} has the factor {entry.weighing.factor}")
        return cls(found.merge, found.name, found.number, entries)

    @property
    def compares(self) -> bool:
        """Whether its weighings depend on what the updates hold."""
        return self.policy.norm_clip > 0 or self.policy.rule not in _BY_COORDINATE

    def combined(self, numbers: Doubles, *, sparse: bool) -> Doubles:
        """m of ARITHMETIC.md for some elements, from those of each update, a row each. `sparse` says that sums begin at
        +0.0."""
        if self.policy.rule not in _BY_COORDINATE:
            return self._row(range(len(self.entries)), numbers, sparse)
        members: dict[int, list[int]] = {}
        for index, entry in enumerate(self.entries):
            members.setdefault(entry.weighing.bucket, []).append(index)
        rows = np.stack([self._row(indices, numbers, sparse) for indices in members.values()])
        out = self.policy.byzantine
        if self.policy.rule == job_pb2.AGGREGATION_RULE_MEDIAN:
            out = (len(rows) - 1) // 2
        if 2 * out >= len(rows):
            raise VerifyError(f"{self.round_name} has {len(rows)} rows, of which {out} are to be left out at both ends")
        rows.sort(axis=0)
        total: Doubles = rows[out]
        for row in rows[out + 1 : len(rows) - out]:
            total = total + row
        total = total / (len(rows) - 2 * out)
        return total + 0.0

    def _row(self, indices: Sequence[int], numbers: Doubles, sparse: bool) -> Doubles:
        total: Doubles | None = None
        for index in indices:
            factor = self.entries[index].weighing.factor
            if factor == 0:
                continue
            product = factor * numbers[index]
            if total is None:
                total = np.zeros(1) if sparse else None
            total = product if total is None else total + product
        return np.zeros(numbers.shape[1]) if total is None else total

    def problems(self, products: Doubles | None) -> list[str]:
        """What of the weighings is not what the rule makes of these updates, whose products with each other these are;
        None where it does not compare."""
        wrong = self._wrong_buckets()
        if wrong or products is None:
            return wrong or self._wrong_factors(np.ones(len(self.entries)), np.ones(len(self.entries), bool))
        lengths = np.sqrt(np.diagonal(products))
        known = lengths < _TOO_LONG
        gram = np.where(np.outer(known, known), products, 0.0)
        lengths = np.where(known, lengths, _TOO_LONG)
        np.fill_diagonal(gram, lengths * lengths)
        norms = np.array([entry.weighing.norm for entry in self.entries])
        wrong = [
            f"shard {entry.shard} has the length {length:.9g}, not {entry.weighing.norm:.9g}"
            for entry, length, close in zip(self.entries, lengths, np.isclose(norms, lengths, _CLOSE, 0), strict=True)
            if not close
        ]
        clips = np.ones(len(lengths))
        if self.policy.norm_clip > 0:
            limit = self.policy.norm_clip * float(np.median(lengths))
            clips = np.array([limit / length if length > limit else 1.0 for length in lengths])
        if self.policy.rule in _MEANS or self.policy.rule in _BY_COORDINATE:
            return wrong + self._wrong_factors(clips, known)
        return wrong + self._wrong_sum(gram, clips, known)

    @property
    def _size(self) -> int:
        return max(1, self.policy.bucket_size)

    def _wrong_buckets(self) -> list[str]:
        lots = sorted(
            (hashlib.sha256(f"{self.round_name}/{entry.shard}".encode()).hexdigest(), entry) for entry in self.entries
        )
        return [
            f"shard {entry.shard} belongs to bucket {place // self._size}, not {entry.weighing.bucket}"
            for place, (_, entry) in enumerate(lots)
            if entry.weighing.bucket != place // self._size
        ]

    def _shares(self, clips: Doubles) -> Doubles:
        buckets = [entry.weighing.bucket for entry in self.entries]
        return np.array([clip / buckets.count(bucket) for clip, bucket in zip(clips, buckets, strict=True)])

    def _wrong_factors(self, clips: Doubles, known: NDArray[np.bool_]) -> list[str]:
        """For rules whose factors follow from the lengths alone."""
        right = self._shares(clips)
        if self.policy.rule in _MEANS:
            weights = [weight_of(entry, self.round_number) for entry in self.entries]
            right = np.array(weights) * clips / sum(weights)
        return self._unlike(np.where(known, right, 0.0))

    def _unlike(self, right: Doubles) -> list[str]:
        return [
            f"shard {entry.shard} counts {factor:.9g}, not {entry.weighing.factor:.9g}"
            for entry, factor in zip(self.entries, right, strict=True)
            if not math.isclose(entry.weighing.factor, factor, rel_tol=_CLOSE)
        ]

    def _wrong_sum(self, gram: Doubles, clips: Doubles, known: NDArray[np.bool_]) -> list[str]:
        """For rules that see how far updates are from each other."""
        shares, buckets = self._shares(clips), np.array([entry.weighing.bucket for entry in self.entries])
        into = (buckets == np.arange(buckets.max() + 1)[:, None]) * shares
        seen = into @ gram @ into.T
        typical = float(np.median(_lengths(seen)))
        told = np.array([entry.weighing.factor for entry in self.entries])
        if self.policy.rule == job_pb2.AGGREGATION_RULE_KRUM:
            return self._wrong_choice(seen, shares, buckets, known)
        counts = _median_point(seen, self.policy) if self._is_median else _centre(seen, self.policy)
        right = np.where(known, counts[buckets] * shares, 0.0)
        off = told - right
        apart = math.sqrt(max(0.0, float(off @ gram @ off)))
        name = AggregationRule.Name(self.policy.rule).removeprefix("AGGREGATION_RULE_")
        wrong = []
        if not apart <= _SAME_SUM * typical:
            wrong.append(
                f"the factors of {name} make a sum that is {apart:.3g} off, at a median length of {typical:.3g}"
            )
        if not abs(float(off.sum())) <= _SAME_SUM:
            wrong.append(f"the factors of {name} add up to {told.sum():.9g}, not {right.sum():.9g}")
        return wrong

    @property
    def _is_median(self) -> bool:
        return self.policy.rule == job_pb2.AGGREGATION_RULE_GEOMETRIC_MEDIAN

    def _wrong_choice(
        self, seen: Doubles, shares: Doubles, buckets: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> list[str]:
        kept = sorted({entry.weighing.bucket for entry in self.entries if entry.weighing.factor})
        # Of a bucket that was kept some may count nothing: those that are too long.
        if len(kept) != self.policy.keep and known.all():
            return [f"{len(kept)} buckets were kept, not {self.policy.keep}"]
        squares = np.array(
            [[seen[i, i] + seen[j, j] - 2 * seen[i, j] for j in range(len(seen))] for i in range(len(seen))]
        )
        near = len(seen) - self.policy.byzantine - 2
        if near < 1:
            return [f"{len(seen)} buckets are too few for byzantine={self.policy.byzantine}"]
        scores = [sum(sorted(np.maximum(np.delete(row, i), 0.0))[:near]) for i, row in enumerate(squares)]
        slack = 1e-9 * float(np.median(np.diagonal(seen)))
        best_left_out = min((scores[b] for b in range(len(scores)) if b not in kept), default=math.inf)
        wrong = [
            f"bucket {b} was kept with the score {scores[b]:.6g}, and one with {best_left_out:.6g} left out"
            for b in kept
            if scores[b] > best_left_out * (1 + 1e-6) + slack
        ]
        right = np.where(np.isin(buckets, kept) & known, shares / self.policy.keep, 0.0)
        return wrong + self._unlike(right)


def _apart(seen: Doubles, counts: Doubles) -> Doubles:
    """From each row to the point that the counts make of them."""
    size = counts @ seen @ counts
    squares = np.array([seen[b, b] - 2.0 * (seen[b] @ counts) + size for b in range(len(seen))])
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _lengths(seen: Doubles) -> Doubles:
    """Of each row. The square of one whose members cancelled may have come out a little below 0."""
    return np.asarray(np.sqrt(np.maximum(np.diagonal(seen), 0.0)))


def _median_point(seen: Doubles, policy: MergePolicy) -> Doubles:
    lengths = _lengths(seen)
    typical = float(np.median(lengths))
    counts = np.array([typical / length if length > typical else 1.0 for length in lengths]) / len(seen)
    for _ in range(policy.iterations if typical > 0 else 0):
        pulls = [1.0 / max(length, typical * 1e-6) for length in _apart(seen, counts)]
        counts = np.array(pulls) / sum(pulls)
    return counts


def _centre(seen: Doubles, policy: MergePolicy) -> Doubles:
    counts = np.zeros(len(seen))
    for _ in range(policy.iterations):
        lengths = _apart(seen, counts)
        limit = policy.clip_radius * float(np.median(lengths))
        moves = np.array([limit / length if length > limit else 1.0 for length in lengths])
        counts = counts + (moves - counts * moves.sum()) / len(seen)
    return counts
