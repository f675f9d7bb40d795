"""The loop's knobs, on real data: what each does to an update."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainnet.v1.task_pb2 import TASK_PHASE_RUNNING, EvaluateSpec, InitializeSpec, TaskSpec, TrainSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.recipe import Recipe
from trainnet.worker.trainer.train import parts
from trainnet.worker.trainer.weights import read_weights


class Round:
    """Trains rounds of a job with one shard of all its rows."""

    def __init__(self, tasks: Any, model_of: Any, path: Path, architecture: str = "mlp") -> None:
        self.tasks, self.model_of, self.architecture = tasks, model_of, architecture
        self.schema, _, self.shards = tasks.prepare(path, shards=1)
        self.parts: dict[str, Path] = {}
        self.base: Path | None = None

    def spec(self, knobs: dict[str, Any], **spec: Any) -> TrainSpec:
        task = TrainSpec(
            model=self.model_of(self.architecture, self.schema, **knobs), **{"seed": 5, "round": 1, **spec}
        )
        task.shard.digest = "sha256:" + self.shards["shard-0"].part_sha256[0].hex()
        if "bundle" in self.parts:
            task.parts.bundle.digest = "sha256:bundle"
        return task

    def train(self, *, spec: dict[str, Any] | None = None, **knobs: Any) -> tuple[Any, Any]:
        task = self.spec(knobs, **({"epochs": 1} | (spec or {})))
        if self.base is None:
            inputs = {"sample": self.shards["sample"].path} if "sample" in self.shards else {}
            _, made = self.tasks.run(TaskSpec(initialize=InitializeSpec(model=task.model, seed=3)), **inputs)
            self.base = made["base"].path
            self.parts = {"bundle": made["bundle"].path} if "bundle" in made else {}
            task = self.spec(knobs, **({"epochs": 1} | (spec or {})))
        result, outputs = self.tasks.run(
            TaskSpec(train=task), base=self.base, shard=self.shards["shard-0"].path, **self.parts
        )
        return result, outputs["update"]


def norm(update: Any) -> float:
    return float(sum((tensor.double() ** 2).sum() for tensor in read_weights(update.path).values()) ** 0.5)


@pytest.fixture
def iris(tasks: Any, model_of: Any, iris_csv: Path) -> Round:
    return Round(tasks, model_of, iris_csv)


def running(tasks: Any) -> list[Any]:
    return [step for step in tasks.steps if step.phase == TASK_PHASE_RUNNING and step.step]


@pytest.mark.parametrize(
    ("examples", "size", "expected"),
    [(5, 2, [2, 3]), (4, 2, [2, 2]), (3, 2, [3]), (1, 2, [1]), (3, 1, [1, 1, 1]), (9, 4, [4, 5])],
)
def test_no_batch_is_a_single_example(model_of: Any, examples: int, size: int, expected: list[int]) -> None:
    found = parts(torch.arange(examples), size)
    assert [len(part) for part in found] == expected
    assert torch.cat(found).tolist() == list(range(examples))
    assert recipe(model_of, batch_size=size).steps_per_epoch(examples) == len(expected)


def test_accumulated_batches_are_one_step(iris: Round) -> None:
    _, whole = iris.train(batch_size=32, gradient_clip=0.1)
    _, parts = iris.train(batch_size=8, accumulate=4, gradient_clip=0.1)
    assert iris.tasks.steps[-2].total_steps == 4
    expected, found = read_weights(whole.path), read_weights(parts.path)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


@pytest.mark.parametrize(("batch_size", "accumulate", "half"), [(32, 1, 16), (5, 1, 3), (3, 2, 2), (1, 4, 1)])
def test_halved_batches_keep_the_steps(model_of: Any, batch_size: int, accumulate: int, half: int) -> None:
    whole = recipe(model_of, batch_size=batch_size, accumulate=accumulate)
    halves = whole.halved()
    assert halves.batch_size == half
    assert [halves.steps(examples) for examples in range(1, 50)] == [whole.steps(examples) for examples in range(1, 50)]


@pytest.mark.parametrize(("batch_size", "accumulate"), [(7, 1), (3, 4)])
def test_the_loss_is_the_mean_over_the_last_pass(iris: Round, batch_size: int, accumulate: int) -> None:
    # Whatever remains of a pass joins another batch, so passes differ in their batches.
    still, _ = iris.train(spec={"epochs": 1}, batch_size=batch_size, accumulate=accumulate, learning_rate=1e-30)
    whole, _ = iris.train(spec={"epochs": 3}, batch_size=batch_size, accumulate=accumulate, learning_rate=1e-30)
    assert whole.metrics["loss"] == pytest.approx(still.metrics["loss"], rel=1e-6)


def test_local_steps_are_counted_over_passes(iris: Round) -> None:
    # 120 rows: a pass has 8 steps.
    result, _ = iris.train(spec={"local_steps": 11})
    assert (running(iris.tasks)[-1].step, running(iris.tasks)[-1].total_steps) == (11, 11)
    assert result.metrics["examples"] == 120
    _, one = iris.train(spec={"local_steps": 8})
    _, same = iris.train()
    assert one.part_sha256 == same.part_sha256


def test_a_clipped_step_is_short(iris: Round) -> None:
    _, update = iris.train(spec={"local_steps": 1}, momentum=0, learning_rate=1.0, gradient_clip=0.01)
    assert norm(update) == pytest.approx(0.01, rel=1e-3)


def test_fedprox_stays_near_its_start(iris: Round) -> None:
    _, free = iris.train(spec={"epochs": 8})
    _, held = iris.train(spec={"epochs": 8}, fedprox_mu=5.0)
    assert 0 < norm(held) < norm(free) / 2


def test_a_rate_that_is_warming_up_moves_less(iris: Round) -> None:
    _, cold = iris.train(spec={"rounds": 4}, warmup_steps=1000)
    _, later = iris.train(spec={"rounds": 4, "round": 3}, warmup_steps=1000)
    assert norm(cold) < norm(later) / 3


def test_smoothed_labels_and_other_precisions(iris: Round) -> None:
    plain, exact = iris.train(spec={"epochs": 8})
    smooth, _ = iris.train(spec={"epochs": 8}, label_smoothing=0.5)
    assert smooth.metrics["loss"] > plain.metrics["loss"] + 0.1
    rough, update = iris.train(spec={"epochs": 8}, precision="bf16")
    assert rough.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=0.2)
    assert update.part_sha256 != exact.part_sha256
    for name in ("precision", "schedule", "optimizer"):
        with pytest.raises(TaskError, match=rf"the hyperparameter {name} is 'odd', n"):
            iris.train(spec=None, **{name: "odd"})


def recipe(model_of: Any, *, round: int = 1, rounds: int = 1, **knobs: Any) -> Recipe:  # noqa: A002  # the field's word
    return Recipe.of(TrainSpec(model=model_of("mlp", None, **knobs), round=round, rounds=rounds, epochs=1))


def test_schedules_run_over_all_rounds(model_of: Any) -> None:
    def rates(schedule: str, warmup: int = 0) -> list[float]:
        return [
            recipe(
                model_of, round=number, rounds=2, schedule=schedule, warmup_steps=warmup, learning_rate=1.0
            ).learning_rate_at(step, 4)
            for number in (1, 2)
            for step in range(4)
        ]

    assert rates("constant") == [1.0] * 8
    assert rates("linear") == [1 - step / 8 for step in range(8)]
    assert rates("cosine")[4] == pytest.approx(0.5)
    assert rates("constant", 4) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates("linear", 6)[5:] == [1.0, 1.0, 0.5]


def test_a_job_in_between_changes_nothing(iris: Round, tasks: Any, model_of: Any, digits_parquet: Path) -> None:
    _, first = iris.train(dropout=0.3)
    Round(tasks, model_of, digits_parquet, "cnn").train()
    _, second = iris.train(dropout=0.3)
    assert first.part_sha256 == second.part_sha256


def test_a_transformer_repeats_to_the_byte_and_counts_what_it_cut(tasks: Any, model_of: Any, reviews_csv: Path) -> None:
    texts = Round(tasks, model_of, reviews_csv, "distilbert")
    result, first = texts.train(max_length=8)
    _, second = texts.train(max_length=8)
    _, other = texts.train(max_length=8, spec={"seed": 6})
    assert first.part_sha256 == second.part_sha256 != other.part_sha256
    assert 0 < result.metrics["truncated"] <= result.metrics["examples"]


def test_an_evaluation_tells_which_class_was_taken_for_which(tasks: Any, model_of: Any, iris_csv: Path) -> None:
    job = Round(tasks, model_of, iris_csv)
    job.train()
    spec = EvaluateSpec(model=job.model_of("mlp", job.schema))
    spec.holdout.digest = "sha256:" + job.shards["holdout"].part_sha256[0].hex()
    result, _ = tasks.run(TaskSpec(evaluate=spec), weights=job.base, holdout=job.shards["holdout"].path)
    confusion = result.evaluate.confusion
    assert list(confusion.classes) == ["setosa", "versicolor", "virginica"]
    assert sum(confusion.counts) == result.metrics["examples"] == 30
    assert sum(confusion.counts[::4]) / 30 == result.metrics["accuracy"]


NARROW = """
import resource, sys
from pathlib import Path
from services.worker.tests.conftest import Tasks
from trainnet.v1.task_pb2 import TaskSpec

folder, spec, base, shard = sys.argv[1:]
tasks = Tasks(Path(folder))
task = TaskSpec.FromString(Path(spec).read_bytes())
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(500e6),) * 2)
try:
    result, outputs = tasks.run(task, base=Path(base), shard=Path(shard))
except Exception as error:
    print("failed", error)
else:
    print(int(result.metrics["batch_size"]), outputs["update"].part_sha256[0].hex())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits on address space are Linux's")
@pytest.mark.parametrize(("width", "fits"), [(400_000, True), (4_000_000, False)])
def test_out_of_memory_halves_the_batches_once(iris: Round, tmp_path: Path, width: int, fits: bool) -> None:
    # A batch of 120 rows makes tensors of 192 MB, of which two at a time are needed.
    task = iris.spec({"hidden": [width], "batch_size": 120}, epochs=1)
    _, made = iris.tasks.run(TaskSpec(initialize=InitializeSpec(model=task.model, seed=3)))
    (tmp_path / "spec").write_bytes(TaskSpec(train=task).SerializeToString())
    inputs = [str(tmp_path / "spec"), str(made["base"].path), str(iris.shards["shard-0"].path)]
    (tmp_path / "narrow").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", NARROW, str(tmp_path / "narrow"), *inputs],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    if fits:
        iris.base = made["base"].path
        _, halves = iris.train(hidden=[width], batch_size=60, accumulate=2)
        assert done.stdout.split() == ["60", halves.part_sha256[0].hex()], done.stderr
    else:
        assert "out of memory, also with batches of 60 in place of 120: lower batch_size" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
