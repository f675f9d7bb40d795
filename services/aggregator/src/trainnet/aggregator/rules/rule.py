"""The rule of a merge policy, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainnet.aggregator.errors import Unmergeable
from trainnet.v1 import job_pb2
from trainnet.v1.job_pb2 import AggregationRule, MergePolicy

_ROBUST = ("byzantine", "bucket_size")
# The numbers that each rule needs; a norm clip is for all of them, and 0 where it is not said.
_NUMBERS: dict[AggregationRule, tuple[str, ...]] = {
    job_pb2.AGGREGATION_RULE_MEAN: (),
    job_pb2.AGGREGATION_RULE_MEDIAN: _ROBUST,
    job_pb2.AGGREGATION_RULE_TRIMMED_MEAN: _ROBUST,
    job_pb2.AGGREGATION_RULE_KRUM: (*_ROBUST, "keep"),
    job_pb2.AGGREGATION_RULE_GEOMETRIC_MEDIAN: (*_ROBUST, "iterations"),
    job_pb2.AGGREGATION_RULE_CENTERED_CLIPPING: (*_ROBUST, "clip_radius", "iterations"),
}
_COORDINATE = frozenset({job_pb2.AGGREGATION_RULE_MEDIAN, job_pb2.AGGREGATION_RULE_TRIMMED_MEAN})


@dataclass(frozen=True)
class Rule:
    """What MergePolicy says of its rule; a number that the rule does not have is 0."""

    kind: AggregationRule
    byzantine: int
    bucket_size: int
    norm_clip: float
    keep: int
    clip_radius: float
    iterations: int

    @property
    def name(self) -> str:
        """As the contract has it, without the prefix."""
        return AggregationRule.Name(self.kind).removeprefix("AGGREGATION_RULE_")

    @property
    def by_weight(self) -> bool:
        """Whether an update counts by its shard's examples; else all count alike."""
        return self.kind == job_pb2.AGGREGATION_RULE_MEAN

    @property
    def by_coordinate(self) -> bool:
        """Whether it goes weight for weight over rows instead of summing all updates."""
        return self.kind in _COORDINATE

    @property
    def drop(self) -> int | None:
        """How many rows it leaves out at both ends of each coordinate; None for the median."""
        return None if self.kind == job_pb2.AGGREGATION_RULE_MEDIAN else self.byzantine

    @property
    def measures(self) -> bool:
        """Whether it has to know how long the updates are, or more of them, before it can say what each counts for."""
        return self.norm_clip > 0 or not self.by_coordinate

    @property
    def compares(self) -> bool:
        """Whether it needs the product of each row with each."""
        return not (self.by_weight or self.by_coordinate or self.one_step)

    @property
    def one_step(self) -> bool:
        """Whether all that it asks of a row is its length: centered clipping that goes one step from 0."""
        return self.kind == job_pb2.AGGREGATION_RULE_CENTERED_CLIPPING and self.iterations == 1

    def together(self, buckets: Sequence[int]) -> list[list[int]]:
        """The updates whose products with each other it needs, each update in one set: their places, from the bucket
        of each. Of an update alone its length is enough."""
        if self.compares:
            return [list(range(len(buckets)))]
        if not self.one_step:
            return [[place] for place in range(len(buckets))]
        members: dict[int, list[int]] = {}
        for place, bucket in enumerate(buckets):
            members.setdefault(bucket, []).append(place)
        return [members[bucket] for bucket in sorted(members)]

    def rows(self, updates: int) -> int:
        """What it sees of so many updates: their buckets."""
        return -(-updates // self.bucket_size)

    def check(self, updates: int) -> None:
        """Raises Unmergeable for a round with too few updates for what it is to bear."""
        if not updates:
            raise Unmergeable("there are no updates")
        rows = self.rows(updates)
        krum = self.kind == job_pb2.AGGREGATION_RULE_KRUM
        needed = 2 * self.byzantine + (3 if krum else 1)
        if rows < needed:
            seen = f"{updates} updates" + (f" make {rows} buckets" if self.bucket_size > 1 else "")
            raise Unmergeable(f"{self.name} with byzantine={self.byzantine} needs {needed}, {seen}")
        if krum and self.keep > rows:
            raise Unmergeable(f"{self.name} cannot keep {self.keep} of {rows}")


def robust(policy: MergePolicy) -> bool:
    """Whether the policy asks for more than the plain mean, whose sums need nothing but the weights."""
    return policy.rule not in (job_pb2.AGGREGATION_RULE_UNSPECIFIED, job_pb2.AGGREGATION_RULE_MEAN) or (
        policy.norm_clip > 0
    )


def rule_of(policy: MergePolicy) -> Rule | None:
    """The policy's rule; None for the plain mean. Raises Unmergeable for a rule that this aggregator does not know, and
    for one whose numbers are not all there."""
    kind = policy.rule or job_pb2.AGGREGATION_RULE_MEAN
    if kind not in _NUMBERS:
        raise Unmergeable(f"this aggregator knows no rule {kind}: bring it up to date")
    if not robust(policy):
        return None
    missing = [name for name in _NUMBERS[kind] if not policy.HasField(name)]
    if missing:
        raise Unmergeable(f"the policy does not say {', '.join(missing)}")
    return Rule(
        kind=kind,
        byzantine=policy.byzantine,
        bucket_size=max(1, policy.bucket_size),
        norm_clip=policy.norm_clip,
        keep=policy.keep,
        clip_radius=policy.clip_radius,
        iterations=policy.iterations,
    )
