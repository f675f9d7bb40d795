"""Which row goes where: pure functions of the plan, the rows' number and their classes.

The holdout is cut first. IID gives every row a rank by a seeded permutation: the first ranks are the holdout, the
others are dealt out in turn. STRATIFIED and DIRICHLET do the same within each class. Rows keep the file's order within
a shard; training shuffles them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import SHARD_KIND_DIRICHLET, SHARD_KIND_STRATIFIED, ShardPlan
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.permutation import Permutation

MIN_ALPHA, MAX_ALPHA = 0.001, 1000.0
_DRAWS = 10
_MAX_CELLS = 20_000_000
Indices = NDArray[np.int64]
Codes = NDArray[np.integer]
Mask = NDArray[np.bool_]


class Cut(Protocol):
    """Deals rows in the order of the file: target k is shard k, target `shards` is the holdout."""

    def targets(self, codes: Codes | None, held: Mask | None, rows: int) -> Indices:
        """Targets of the next rows. `codes` are their classes, `held` those that a split column holds out.

        Raises TaskError when there are more rows than the plan was made for.
        """


class IidCut:
    """All rows alike."""

    def __init__(self, rows: int, plan: ShardPlan, held_rows: int | None) -> None:
        """`rows` are those to deal; `held_rows` those beside them that a split column holds out, if there is one."""
        self._holdout = holdout_rows(rows, plan.holdout_fraction) if held_rows is None else 0
        _check_enough(rows - self._holdout, plan.shards, self._holdout if held_rows is None else held_rows)
        self._rows, self._shards, self._next = rows, plan.shards, 0
        self._permutation = Permutation(rows, plan.seed)

    def targets(self, codes: Codes | None, held: Mask | None, rows: int) -> Indices:
        """See Cut."""
        dealt = rows if held is None else rows - int(held.sum())
        if self._next + dealt > self._rows:
            raise changed()
        ranks = self._permutation.ranks(np.arange(self._next, self._next + dealt, dtype=np.uint64)).astype(np.int64)
        self._next += dealt
        dealt_to = np.where(ranks < self._holdout, self._shards, (ranks - self._holdout) % self._shards)
        if held is None:
            return dealt_to
        targets = np.full(rows, self._shards, np.int64)
        targets[~held] = dealt_to
        return targets


class ClassCut:
    """Each class by itself. `bounds` has a row for every class: the rank behind the last one of each shard, where the
    shards' shares differ; without it, ranks are dealt in turn, from one class on to the next."""

    def __init__(
        self, class_rows: Sequence[int], holdout: Sequence[int], plan: ShardPlan, bounds: Indices | None
    ) -> None:
        self._rows, self._holdout = np.asarray(class_rows), np.asarray(holdout)
        self._shards, self._seed, self._bounds = plan.shards, plan.seed, bounds
        self._offset = np.concatenate(([0], np.cumsum(self._rows - self._holdout)[:-1]))
        self._next = np.zeros(len(class_rows), np.int64)
        self._permutations: dict[int, Permutation] = {}

    def targets(self, codes: Codes | None, held: Mask | None, rows: int) -> Indices:
        """See Cut."""
        assert codes is not None
        targets = np.full(rows, self._shards, np.int64)
        dealt = np.arange(rows) if held is None else np.flatnonzero(~held)
        order = dealt[np.argsort(codes[dealt].astype(np.uint16), kind="stable")]
        counts = np.bincount(codes[dealt], minlength=len(self._rows))
        if (self._next + counts > self._rows).any():
            raise changed()
        start = 0
        for code in np.flatnonzero(counts):
            end = start + int(counts[code])
            targets[order[start:end]] = self._targets_of(int(code), end - start)
            start = end
        return targets

    def _targets_of(self, code: int, count: int) -> Indices:
        permutation = self._permutations.get(code)
        if permutation is None:
            permutation = self._permutations[code] = Permutation(int(self._rows[code]), self._seed, code)
        first = int(self._next[code])
        self._next[code] += count
        ranks = permutation.ranks(np.arange(first, first + count, dtype=np.uint64)).astype(np.int64)
        ranks -= self._holdout[code]
        if self._bounds is None:
            dealt = (self._offset[code] + ranks) % self._shards
        else:
            dealt = np.searchsorted(self._bounds[code], ranks, side="right")
        return np.where(ranks < 0, self._shards, dealt)


def make_cut(plan: ShardPlan, class_rows: Sequence[int], rows: int, held_rows: int | None) -> Cut:
    """The plan for `rows` rows to deal, `class_rows` of each class, beside `held_rows` that a split column holds out.

    Raises TaskError where the plan does not fit them.
    """
    if plan.kind not in {SHARD_KIND_STRATIFIED, SHARD_KIND_DIRICHLET}:
        return IidCut(rows, plan, held_rows)
    if not class_rows:
        raise TaskError("TASK", "this plan deals by classes and the data set has no label of classes; use --split iid")
    fraction = plan.holdout_fraction if held_rows is None else 0.0
    holdout = stratified_holdout(class_rows, fraction)
    left = [count - out for count, out in zip(class_rows, holdout, strict=True)]
    _check_enough(sum(left), plan.shards, sum(holdout) if held_rows is None else held_rows)
    bounds = None
    if plan.kind == SHARD_KIND_DIRICHLET:
        bounds = np.cumsum(dirichlet_rows(left, plan.shards, plan.alpha, plan.seed), axis=1)
    return ClassCut(class_rows, holdout, plan, bounds)


def holdout_rows(rows: int, fraction: float) -> int:
    """Rows to hold out: at least one where there is a fraction."""
    return max(1, round(rows * fraction)) if fraction > 0 else 0


def stratified_holdout(class_rows: Sequence[int], fraction: float) -> list[int]:
    """Rows of each class to hold out, within one of its share; each class keeps a row to train on."""
    total = holdout_rows(sum(class_rows), fraction)
    most = np.maximum(np.asarray(class_rows) - 1, 0)
    return [int(out) for out in np.minimum(apportion(total, np.asarray(class_rows, np.float64)), most)]


def dirichlet_rows(class_rows: Sequence[int], shards: int, alpha: float, seed: int) -> Indices:
    """Rows of each class (rows of the result) for each shard (columns): shares drawn from Dirichlet(alpha) for each
    class (Hsu et al. 2019, arXiv:1909.06335), drawn anew up to ten times while a shard would be empty.

    Raises TaskError where alpha is out of range or one stays empty.
    """
    if not MIN_ALPHA <= alpha <= MAX_ALPHA:
        raise TaskError("TASK", f"--alpha {alpha:g} is not between {MIN_ALPHA:g} and {MAX_ALPHA:g}")
    if len(class_rows) * shards > _MAX_CELLS:
        raise TaskError(
            "TASK",
            f"{len(class_rows)} classes take at most {_MAX_CELLS // len(class_rows)} Dirichlet shards; lower --shards",
        )
    empty = 0
    for draw in range(_DRAWS):
        random = np.random.default_rng([seed % 2**64, draw])
        rows = np.stack([apportion(count, random.dirichlet(np.full(shards, alpha))) for count in class_rows])
        empty = int((rows.sum(axis=0) == 0).sum())
        if not empty:
            return rows
    raise TaskError(
        "TASK", f"{empty} of {shards} shards would get no row with --alpha {alpha:g}; raise --alpha or lower --shards"
    )


def apportion(total: int, weights: NDArray[np.float64]) -> Indices:
    """Whole numbers that sum to `total`, each within one of its share (largest remainders, the first of equals)."""
    if total == 0 or weights.sum() <= 0:
        return np.zeros(len(weights), np.int64)
    shares = total * (weights / weights.sum())
    whole: Indices = np.floor(shares).astype(np.int64)
    left = total - int(whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:left]] += 1
    return whole


def changed() -> TaskError:
    """The file is another one than the inspected."""
    return TaskError("TASK", "the file has more rows than were inspected; upload it again")


def _check_enough(left: int, shards: int, holdout: int) -> None:
    if left < shards:
        kept = f" after {holdout} were held out" if holdout else ""
        raise TaskError(
            "TASK", f"{shards} shards are more than the {left} rows that are left{kept}; use fewer: lower --shards"
        )
