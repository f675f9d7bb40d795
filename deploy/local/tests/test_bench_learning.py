"""`trainnet bench learning`: small runs by the worker's own tasks and the aggregator's own merges."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.local.tests.test_bench_training import write_idx
from trainnet.cli.main import app
from trainnet.local.bench.learned import plan


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Options that name data as small as they may be."""
    write_idx(tmp_path, "train", 800)
    write_idx(tmp_path, "t10k", 20)
    lines = [f"And it came to pass in the year {number}, that it was so." for number in range(700)]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    return ["--data-dir", str(tmp_path), "--text", str(tmp_path / "text.txt")]


def test_rows_for_programs(sources: list[str]) -> None:
    options = ["--quick", "--json", "--splits", "dirichlet", "--strategies", "central,fedadam,diloco", "--steps", "2"]
    done = CliRunner().invoke(app, ["bench", "learning", *options, "--local-steps", "2,1", *sources])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [("central", 2, 0.0), ("fedadam", 1, 0.0), ("diloco", 2, 0.0), ("diloco", 1, 0.0), ("diloco", 1, 0.5)]
    assert [(row["strategy"], row["local_steps"], row["dropped"]) for row in rows] == 2 * kinds
    assert [row["task"] for row in rows] == ["fashion"] * 5 + ["gpt"] * 5
    assert all(0 <= row["metric"] <= 1 for row in rows[:5]), "accuracies"
    assert all(row["metric"] > 1 for row in rows[5:]), "perplexities"


def test_the_whole_table() -> None:
    runs = plan.runs(list(plan.TASKS), plan.SPLITS, list(plan.STRATEGIES), [plan.LONG, plan.SHORT], 3)
    assert len(runs) == len(set(runs)) == 2 * 3 * (1 + 2 * 6)
    assert {run.local_steps for run in runs if run.strategy == "diloco"} == {50, 500}
    assert all(task.steps % plan.LONG == 0 for task in plan.TASKS.values())


def test_what_cannot_be_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("In the beginning\n", encoding="utf-8")
    for options, said in (
        (["--local-steps", "5000"], "--local-steps: 5000"),
        (["--strategies", "magic"], "--strategies: 'magic' is none of central"),
        (["--tasks", "gpt", "--quick", "--text", str(tmp_path / "short.txt")], "has 1 lines"),
    ):
        done = CliRunner().invoke(app, ["bench", "learning", *options])
        assert (done.exit_code, said in done.stderr) == (1, True), done.output
        assert done.stderr.count("error:") == 1
