"""Curves in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.python.tests.peer import Peer
from trainnet.cli import _metrics
from trainnet.cli._plot import Series, job_plots, plot
from trainnet.client import Client, Job
from trainnet.v1 import dataset_pb2, job_pb2


def _round(number: int, *, loss: float | None, **metrics: float) -> job_pb2.Round:
    entry = job_pb2.ManifestEntry(examples=number, metrics={} if loss is None else {"loss": loss})
    return job_pb2.Round(number=number, state=job_pb2.ROUND_STATE_MERGED, metrics=metrics, manifest=[entry])


@pytest.fixture
def job(client: Client, peer: Peer, table: Path) -> Job:
    job = client.train(table, "mlp")
    rounds = [_round(n, loss=4.0 / n, perplexity=100.0 / n, accuracy=float("nan")) for n in range(1, 6)]
    peer.jobs[job.name].MergeFrom(job_pb2.Job(rounds=rounds, initial_metrics={"perplexity": 200.0, "loss": 5.3}))
    for item in peer.jobs[job.name].rounds:
        del item.metrics["accuracy"]
    return job.refresh()


def test_the_leading_figure_and_the_loss_by_round(job: Job) -> None:
    perplexity, loss = (chart.plain.splitlines() for chart in job_plots(job, width=60, height=6))
    assert perplexity[0] == "perplexity by round"
    assert perplexity[1].startswith("      200 ┤")
    assert perplexity[6].startswith("       20 ┤")
    assert perplexity[-1].split() == ["0", "5"]
    assert all(len(line) <= 60 for line in perplexity)
    assert loss[0] == "loss by round   ● held-out rows   ● training"
    assert loss[1].startswith("      5.3 ┤")


def test_a_curve_goes_where_its_points_are() -> None:
    rising = plot("up", [Series("a", [(0, 0.0), (1, 1.0)])], width=31, height=5).plain.splitlines()
    assert rising[5][11] not in "⠀ ", "it begins at the lower left"
    assert rising[5].endswith("⠀")
    assert rising[1][11] == "⠀"
    assert rising[1][-1] not in "⠀ ", "and ends at the upper right"
    flat = plot("flat", [Series("a", [(1, 0.5)])], width=31, height=5).plain
    assert "0.5 ┤" in flat
    assert flat.splitlines()[-1].split() == ["1"]


def test_nothing_is_drawn_before_there_is_something(client: Client, table: Path) -> None:
    assert job_plots(client.train(table, "mlp"), width=60) == []


def test_the_figure_that_leads_follows_from_what_is_learnt(client: Client, peer: Peer, table: Path) -> None:
    job = client.train(table, "mlp")
    message = peer.jobs[job.name]

    def lead(schema: dataset_pb2.DataSchema, **metrics: float) -> str:
        message.schema.CopyFrom(schema)
        message.metrics.clear()
        message.metrics.update(metrics)
        return _metrics.leading(job.refresh())

    classes = dataset_pb2.DataSchema(classes=[dataset_pb2.LabelClass(name="a", rows=1)])
    assert lead(classes) == "accuracy"
    assert lead(dataset_pb2.DataSchema()) == "perplexity"
    assert lead(dataset_pb2.DataSchema(label_is_text=True)) == "word_error_rate"
    assert lead(classes, perplexity=3.0) == "perplexity"


def test_less_is_better_but_for_accuracy() -> None:
    nan = float("nan")
    assert _metrics.best("accuracy", [0.1, 0.9, nan]) == 0.9
    assert _metrics.best("perplexity", [3.0, 2.0, nan]) == 2.0
    assert _metrics.best("accuracy", [nan]) is None
    assert _metrics.merit("perplexity", {"perplexity": 2.0}) > _metrics.merit("perplexity", {"perplexity": 3.0})
    assert _metrics.merit("accuracy", {}) < _metrics.merit("accuracy", {"accuracy": 0.0})
    assert _metrics.headline({"loss": 1.0, "word_error_rate": 0.25}) == "word error rate 0.25"
