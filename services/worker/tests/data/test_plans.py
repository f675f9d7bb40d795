"""Plans are pure: every row in one place, sizes as promised, the same answer every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainnet.v1.dataset_pb2 import SHARD_KIND_DIRICHLET, SHARD_KIND_IID, SHARD_KIND_STRATIFIED, ShardPlan
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.permutation import Permutation
from trainnet.worker.trainer.data.plans import apportion, dirichlet_rows, make_cut, stratified_holdout

SEEDS = st.integers(-(2**63), 2**63 - 1)
CLASSES = st.lists(st.integers(1, 60), min_size=2, max_size=8)


def shuffled(class_rows: list[int], seed: int) -> Any:
    codes = np.repeat(np.arange(len(class_rows)), class_rows).astype(np.int32)
    np.random.default_rng(seed % 2**64).shuffle(codes)
    return codes


def deal(plan: ShardPlan, codes: Any, classes: int, held: Any = None, pieces: int = 3) -> Any:
    """All targets, dealt in pieces."""
    dealt = codes if held is None else codes[~held]
    class_rows = np.bincount(dealt, minlength=classes).tolist()
    cut = make_cut(plan, class_rows, len(dealt), None if held is None else int(held.sum()))
    parts = np.array_split(np.arange(len(codes)), pieces)
    return np.concatenate([cut.targets(codes[part], None if held is None else held[part], len(part)) for part in parts])


@given(CLASSES, st.integers(1, 9), st.sampled_from([0.0, 0.1, 0.25, 0.5]), SEEDS, st.integers(1, 5))
def test_iid_shards_differ_by_at_most_a_row(
    class_rows: list[int], shards: int, fraction: float, seed: int, pieces: int
) -> None:
    codes = shuffled(class_rows, seed)
    plan = ShardPlan(kind=SHARD_KIND_IID, shards=shards, holdout_fraction=fraction, seed=seed)
    holdout = max(1, round(len(codes) * fraction)) if fraction else 0
    if len(codes) - holdout < shards:
        with pytest.raises(TaskError, match="lower --shards"):
            deal(plan, codes, len(class_rows))
        return
    targets = deal(plan, codes, len(class_rows), pieces=pieces)
    sizes = np.bincount(targets, minlength=shards + 1)
    assert sizes[shards] == holdout
    assert sizes[:shards].max() - sizes[:shards].min() <= 1
    # In how many batches the rows come makes no difference.
    assert (targets == deal(plan, codes, len(class_rows), pieces=1)).all()


@given(CLASSES, st.integers(1, 9), st.sampled_from([0.0, 0.1, 0.25, 0.5]), SEEDS)
def test_stratified_shards_have_their_share_of_every_class(
    class_rows: list[int], shards: int, fraction: float, seed: int
) -> None:
    codes = shuffled(class_rows, seed)
    plan = ShardPlan(kind=SHARD_KIND_STRATIFIED, shards=shards, holdout_fraction=fraction, seed=seed)
    holdout = stratified_holdout(class_rows, fraction)
    if sum(class_rows) - sum(holdout) < shards:
        return
    targets = deal(plan, codes, len(class_rows))
    sizes = np.bincount(targets, minlength=shards + 1)
    assert sizes[shards] == sum(holdout)
    assert sizes[:shards].max() - sizes[:shards].min() <= 1
    for code, rows in enumerate(class_rows):
        found = np.bincount(targets[codes == code], minlength=shards + 1)
        assert found.sum() == rows
        assert found[shards] == holdout[code] < rows
        assert abs(holdout[code] - rows * fraction) <= 1 + 1 / fraction if fraction else holdout[code] == 0
        assert found[:shards].max() - found[:shards].min() <= 1


@given(CLASSES, st.integers(1, 6), st.sampled_from([0.001, 0.05, 0.5, 1.0, 100.0, 1000.0]), SEEDS)
@settings(deadline=None)
def test_dirichlet_shards_take_every_row_or_say_what_to_change(
    class_rows: list[int], shards: int, alpha: float, seed: int
) -> None:
    codes = shuffled(class_rows, seed)
    plan = ShardPlan(kind=SHARD_KIND_DIRICHLET, shards=shards, alpha=alpha, holdout_fraction=0.1, seed=seed)
    try:
        targets = deal(plan, codes, len(class_rows))
    except TaskError as error:
        assert "--shards" in error.message  # noqa: PT017  # either outcome is right, for its own reason
        return
    sizes = np.bincount(targets, minlength=shards + 1)
    assert sizes.sum() == len(codes)
    assert (sizes[:shards] > 0).all()
    assert sizes[shards] == sum(stratified_holdout(class_rows, 0.1))
    assert (targets == deal(plan, codes, len(class_rows), pieces=1)).all()


def test_alpha_says_how_unlike_shards_are() -> None:
    def spread(alpha: float) -> float:
        rows = dirichlet_rows([1000] * 10, 8, alpha, seed=1)
        return float((rows / rows.sum(axis=1, keepdims=True)).std())

    assert spread(0.1) > 2 * spread(1.0) > 4 * spread(100.0)
    assert dirichlet_rows([1000] * 10, 8, 1000.0, seed=1).min() > 100


@pytest.mark.parametrize("alpha", [0.0, -1.0, 0.0001, 1001.0, float("nan")])
def test_an_alpha_out_of_range(alpha: float) -> None:
    with pytest.raises(TaskError, match=r"--alpha .* is not between 0.001 and 1000"):
        dirichlet_rows([10, 10], 2, alpha, seed=1)


def test_a_dirichlet_plan_that_leaves_shards_empty_names_the_options() -> None:
    with pytest.raises(
        TaskError, match=r"\d+ of 50 shards would get no row with --alpha 0.001; raise --alpha or lower"
    ):
        dirichlet_rows([100, 100], 50, 0.001, seed=1)


@pytest.mark.parametrize("kind", [SHARD_KIND_STRATIFIED, SHARD_KIND_DIRICHLET])
def test_plans_by_class_need_classes(kind: Any) -> None:
    with pytest.raises(TaskError, match="no label of classes; use --split iid"):
        make_cut(ShardPlan(kind=kind, shards=2, alpha=1.0), [], 100, None)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=20, max_size=200),
    st.sampled_from([SHARD_KIND_IID, SHARD_KIND_STRATIFIED]),
    SEEDS,
)
def test_rows_that_a_split_column_holds_out_are_the_holdout(rows: list[tuple[int, bool]], kind: Any, seed: int) -> None:
    codes = np.array([code for code, _ in rows], np.int32)
    held = np.array([out for _, out in rows])
    plan = ShardPlan(kind=kind, shards=2, holdout_fraction=0.5, seed=seed)
    if (~held).sum() < 2:
        return
    targets = deal(plan, codes, 3, held)
    assert ((targets == 2) == held).all()
    sizes = np.bincount(targets[~held], minlength=2)
    assert abs(int(sizes[0]) - int(sizes[1])) <= 1


@given(st.integers(0, 10_000), st.lists(st.floats(0.001, 1000), min_size=1, max_size=20))
def test_shares_sum_to_the_whole_and_are_within_one(total: int, weights: list[float]) -> None:
    shares = np.array(weights)
    found = apportion(total, shares)
    assert found.sum() == total
    assert (np.abs(found - total * shares / shares.sum()) < 1 + 1e-6).all()


@given(st.integers(0, 5000), SEEDS, SEEDS)
def test_ranks_are_a_permutation(n: int, seed: int, other: int) -> None:
    indices = np.arange(n, dtype=np.uint64)
    ranks = Permutation(n, seed).ranks(indices)
    assert np.sort(ranks).tolist() == list(range(n))
    assert (Permutation(n, seed).ranks(indices[::-1]) == ranks[::-1]).all()
    if n > 20 and seed % 2**64 != other % 2**64:
        assert (Permutation(n, other).ranks(indices) != ranks).any()


def test_ranks_look_random() -> None:
    n = 100_003
    ranks = Permutation(n, 7).ranks(np.arange(n, dtype=np.uint64))
    assert abs(np.corrcoef(np.arange(n), ranks.astype(float))[0, 1]) < 0.02
    # Neighbours are dealt to any two of ten shards alike, and so are rows at any other small distance.
    shards = (ranks % np.uint64(10)).astype(int)
    for distance in (1, 2, 316, 317, 318):
        pairs = np.bincount(shards[:-distance] * 10 + shards[distance:], minlength=100)
        assert 0.85 * n / 100 < pairs.min()
        assert pairs.max() < 1.15 * n / 100
    # Every shard takes from all of the file.
    blocks = np.bincount((np.arange(n) * 20 // n) * 10 + shards, minlength=200)
    assert 0.8 * n / 200 < blocks.min()
    assert blocks.max() < 1.2 * n / 200
