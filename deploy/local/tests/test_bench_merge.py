"""`trainnet bench merge`: its arithmetic, and a small run on a real stack."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from trainnet.aggregator.bench.policies import policy_of
from trainnet.local.bench import merge, noop, store_rates
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.job_pb2 import AttemptTimes, ManifestEntry, Round

MEAN = policy_of("fedavg", "mean", 4)


def at(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(round(seconds * 1e9))
    return moment


def entry(shard: int, worker: str, start: float, train_s: float) -> ManifestEntry:
    names = ("ready", "assigned", "leased", "declared", "received", "claimed", "accepted")
    moments = [0.0, start + 1, start + 2, start + 4, start + 7, start + 8, start + 10]
    times = AttemptTimes(**{name: at(moment) for name, moment in zip(names, moments, strict=True)})
    update = Artifact(size_bytes=4_080)
    return ManifestEntry(shard=shard, worker=worker, update=update, times=times, metrics={"train_s": train_s})


def example(group_size: int = 4) -> Round:
    manifest = [entry(0, "a", 0, 1.0), entry(1, "b", 1, 1.5), entry(2, "a", 5, 1.0), entry(3, "b", 3, 0.25)]
    return Round(
        group_size=group_size,
        manifest=manifest,
        base=Artifact(size_bytes=4_080),
        merged=Artifact(size_bytes=4_080),
        open_time=at(0),
        close_time=at(15),
        claim_time=at(16),
        merged_time=at(20),
    )


def test_the_steps_of_the_last_update_sum_to_the_round() -> None:
    steps = noop.critical_path(example())
    assert steps == {
        "assign": 6,
        "accept": 1,
        "work": 2,
        "upload": 3,
        "wait_check": 1,
        "check": 2,
        "close": 0,
        "wait_merge": 1,
        "merge": 4,
    }
    assert sum(steps.values()) == noop.round_seconds(example())


def test_means_and_the_busiest_worker() -> None:
    means = noop.mean_attempt(example())
    assert means == {"assign": 3.25, "accept": 1, "work": 2, "upload": 3, "wait_check": 1, "check": 2}
    assert noop.making_seconds(example()) == 2.0


def test_every_byte_is_counted() -> None:
    moved = merge.traffic(example(), MEAN, 1_000)
    assert (moved.put, moved.got) == (4 * 4_080 + 4_080, 2 * 4_080 + 2 * 4 * 4_080 + 4_080)


def test_partial_sums_count_where_shards_are_grouped() -> None:
    whole, grouped = merge.traffic(example(4), MEAN, 1_000), merge.traffic(example(2), MEAN, 1_000)
    assert grouped.partials == 2 * 8 * 1_000
    assert (grouped.put - whole.put, grouped.got - whole.got) == (16_000, 16_000)


@pytest.mark.parametrize(("rule", "times"), [("krum", 1), ("centered_clipping", 0)])
def test_what_a_rule_reads_counts(rule: str, times: int) -> None:
    found = example(2)
    for entry, factor in zip(found.manifest, (0.5, 0.0, 0.5, 0.0), strict=True):
        entry.weighing.factor, entry.weighing.norm = factor, 1.0
    moved = merge.traffic(found, policy_of("fedavg", rule, 4), 1_000)
    assert (moved.updates, moved.compared) == (4 * 4_080, times * 4 * 4_080)
    assert (moved.folded, moved.partials) == (2 * 4_080, 0)


def test_states_of_an_optimiser_count() -> None:
    found = example()
    without = merge.traffic(found, MEAN, 1_000)
    found.base_optimizer_state.size_bytes, found.optimizer_state.size_bytes = 7_000, 8_000
    moved = merge.traffic(found, MEAN, 1_000)
    assert (moved.put - without.put, moved.got - without.got) == (8_000, 7_000)


@pytest.mark.parametrize(("size", "objects"), [(4_000, 32), (40_000_000, 6), (400_000_000, 1)])
def test_the_store_is_measured_with_whole_objects(size: int, objects: int) -> None:
    assert store_rates.objects_per_stream(size) == objects


def trainnet(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainnet.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


# The numbers that a state holds for each weight, the bytes that an update has of it.
@pytest.mark.parametrize(
    ("strategy", "rule", "numbers", "codec", "width"),
    [
        ("fedavg", "mean", 0, "fp32", 4),
        ("diloco", "mean", 1, "fp32", 4),
        ("diloco", "krum", 1, "topk", 0.021),
        ("fedavg", "trimmed_mean", 0, "fp32", 4),
    ],
)
def test_a_small_run_on_a_real_stack(
    tmp_path: Path, strategy: str, rule: str, numbers: int, codec: str, width: float
) -> None:
    size = ("--params", "100000", "--updates", "3", "--workers", "2")
    choice = ("--strategy", strategy, "--rule", rule, "--codec", codec)
    answer = trainnet("bench", "merge", *size, *choice, "--json", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    promised = ["params", "updates", "bytes_per_s", "kernel_bytes_per_s", "peak_rss_bytes", "round_s", "ideal_round_s"]
    promised += ["fold_bytes_per_s", "fold_read_bytes_per_s", "fold_ratio"]
    assert {*promised, "store_put_bytes_per_s", "store_get_bytes_per_s", "steps"} <= result.keys()
    assert (result["params"], result["updates"], result["workers"]) == (100_000, 3, 2)
    assert (result["strategy"], result["rule"], result["codec"]) == (strategy, rule, codec)
    assert (result["traffic"]["compared"] > 0) == (rule == "krum")
    assert all(result[name] > 0 for name in promised)
    assert result["bytes_put"] == pytest.approx(100_000 * (3 * width + 4 + 4 * numbers), rel=0.01)
    assert sum(result["steps"].values()) == pytest.approx(result["round_s"])
    assert 0 < result["making_updates_s"] < result["round_s"]
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_too_little_room_is_told_before_anything_starts(tmp_path: Path) -> None:
    answer = trainnet("bench", "merge", "--params", "20000000000", "--updates", "100", "--data", str(tmp_path))
    assert answer.returncode == 1
    assert "choose another folder with --data, or measure less" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_cells_of_sizes_rules_and_codecs(tmp_path: Path) -> None:
    grid = ("--params", "300000", "--updates", "3", "--rules", "mean,krum", "--codecs", "topk")
    answer = trainnet("bench", "cells", *grid, "--json", "--data", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    cells = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(cell["updates"], cell["rule"], cell["codec"]) for cell in cells] == [
        (3, "mean", "topk"),
        (3, "krum", "topk"),
    ]
    promised = ["bytes_per_s", "kernel_bytes_per_s", "peak_rss_bytes", "memcpy_bytes_per_s", "torch_mean_bytes_per_s"]
    assert all(cell[name] > 0 for cell in cells for name in (*promised, "store_get_bytes_per_s"))
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
