"""Jobs: what is told wrong beforehand, watches that survive restarts, waits that end rightly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.python.tests.peer import Peer, Refusal
from trainnet.client import (
    Client,
    FailedPrecondition,
    InvalidArgument,
    InvalidFile,
    Job,
    JobFailed,
    JobState,
    JobUpdate,
    NotFound,
    RoundState,
    TrainNetError,
)
from trainnet.v1 import artifact_pb2, job_pb2, task_pb2

Update = job_pb2.WatchJobResponse


@pytest.fixture
def job(client: Client) -> Job:
    return client.train(None, "noop", rounds=2, shards=2)


def _job(state: int, rounds: tuple[job_pb2.Round, ...] = (), message: str = "") -> job_pb2.Job:
    spec = job_pb2.JobSpec(architecture="noop", rounds=2)
    return job_pb2.Job(name="jobs/j1", spec=spec, state=state, rounds=rounds, state_message=message)  # type: ignore[arg-type]


def _round(number: int, state: int, **metrics: float) -> job_pb2.Round:
    entries = [
        job_pb2.ManifestEntry(shard=0, worker="workers/w", fence=7, update=artifact_pb2.Artifact(digest="sha256:0"))
    ]
    found = job_pb2.Round(number=number, state=state, metrics=metrics, manifest=entries)  # type: ignore[arg-type]
    found.open_time.FromSeconds(100)
    if state == job_pb2.ROUND_STATE_MERGED:
        found.merged_time.FromSeconds(102)
    return found


def _task(
    shard: int, step: int, *, kind: int = task_pb2.TASK_KIND_TRAIN, state: int = 0, fence: int = 0
) -> job_pb2.TaskProgress:
    return job_pb2.TaskProgress(
        kind=kind,  # type: ignore[arg-type]
        round=1,
        shard=shard,
        worker="workers/w",
        fence=fence,
        state=state or task_pb2.TASK_STATE_LEASED,  # type: ignore[arg-type]
        phase=task_pb2.TASK_PHASE_RUNNING,
        step=step,
        total_steps=10,
    )


def test_a_watch_tells_the_job_and_the_newest_of_each_task(peer: Peer, job: Job) -> None:
    open_round = job_pb2.Round(number=1, state=job_pb2.ROUND_STATE_OPEN)
    merged = _round(1, job_pb2.ROUND_STATE_MERGED, accuracy=0.5)

    def stream(_: int) -> Iterator[Update]:
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, (open_round,)))
        yield Update(progress=[_task(0, 1), _task(1, 2)])
        yield Update(progress=[_task(0, 5)])
        yield Update(progress=[_task(1, 10, state=task_pb2.TASK_STATE_DONE)])
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, (merged,)))
        yield Update(job=_job(job_pb2.JOB_STATE_SUCCEEDED, (merged,)))

    peer.watch = stream
    seen = [(update.job.state, {task.shard: task.step for task in update.progress}) for update in job.watch()]
    running = JobState.RUNNING
    assert seen == [
        (running, {}),
        (running, {0: 1, 1: 2}),
        (running, {0: 5, 1: 2}),
        (running, {0: 5}),
        (running, {}),
        (JobState.SUCCEEDED, {}),
    ]
    found = job.rounds[0]
    assert (found.state, found.seconds, dict(found.metrics)) == (RoundState.MERGED, 2.0, {"accuracy": 0.5})
    assert (found.manifest[0].worker, found.manifest[0].fence) == ("workers/w", 7)


def test_a_watch_tells_a_straggler_and_its_backup_apart(peer: Peer, job: Job) -> None:
    open_round = job_pb2.Round(number=1, state=job_pb2.ROUND_STATE_OPEN)
    leased, ready = task_pb2.TASK_STATE_LEASED, task_pb2.TASK_STATE_READY

    def stream(_: int) -> Iterator[Update]:
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, (open_round,)))
        yield Update(progress=[_task(0, 1, state=leased, fence=3)])
        yield Update(progress=[_task(0, 2, state=leased, fence=8)])
        yield Update(progress=[_task(0, 1, state=ready, fence=3)])
        yield Update(progress=[_task(0, 2, state=ready, fence=8)])
        yield Update(progress=[_task(0, 1, state=leased, fence=9)])
        yield Update(job=_job(job_pb2.JOB_STATE_SUCCEEDED))

    peer.watch = stream
    seen = [[task.fence for task in update.progress] for update in job.watch()]
    assert seen == [[], [3], [3, 8], [8], [8], [9], []]


def test_a_watch_is_opened_again_after_each_break(peer: Peer, job: Job) -> None:
    def stream(opened: int) -> Iterator[Update]:
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, message=f"stream {opened}"))
        if opened == 1:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "draining")
        if opened == 2:
            return  # ended although the job has not
        if opened == 3:
            raise Refusal(grpc.StatusCode.CANCELLED, "server stops")
        yield Update(job=_job(job_pb2.JOB_STATE_SUCCEEDED))

    peer.watch = stream
    messages = [update.job.message for update in job.watch()]
    assert messages == ["stream 1", "stream 2", "stream 3", "stream 4", ""]


def test_tasks_are_shown_until_their_shard_is_in_or_a_new_stream_begins(peer: Peer, job: Job) -> None:
    open_round = _round(1, job_pb2.ROUND_STATE_OPEN)  # shard 0 is in its manifest
    empty = job_pb2.Round(number=1, state=job_pb2.ROUND_STATE_OPEN)

    def stream(opened: int) -> Iterator[Update]:
        state = job_pb2.JOB_STATE_SUCCEEDED if opened == 2 else job_pb2.JOB_STATE_RUNNING
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, (empty,)), progress=[_task(0, 9), _task(1, 8)][opened - 1 :])
        yield Update(job=_job(state, (open_round,)))

    peer.watch = stream
    assert [[task.shard for task in update.progress] for update in job.watch()] == [[0, 1], [1], [1], []]


def test_a_watch_survives_a_restart_of_the_server(peer: Peer, job: Job) -> None:
    watching = threading.Event()

    def stream(opened: int) -> Iterator[Update]:
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, message=str(opened)))
        if opened == 1:
            watching.set()
            threading.Event().wait(0.5)  # held open until the server is gone
            return
        yield Update(job=_job(job_pb2.JOB_STATE_SUCCEEDED))

    def restart() -> None:
        watching.wait(10)
        peer.stop()
        peer.start()

    peer.watch = stream
    restarter = threading.Thread(target=restart)
    restarter.start()
    states = [update.job.state for update in job.watch()]
    restarter.join()
    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED]


def test_a_watch_of_a_deleted_job_ends_with_not_found(peer: Peer, job: Job) -> None:
    def stream(_: int) -> Iterator[Update]:
        yield Update(job=_job(job_pb2.JOB_STATE_RUNNING))
        raise Refusal(grpc.StatusCode.NOT_FOUND, "jobs/j1 was deleted", reason="NOT_FOUND")

    peer.watch = stream
    with pytest.raises(NotFound, match="was deleted"):
        list(job.watch())


def test_waiting_prints_a_line_for_each_change(peer: Peer, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    merged = _round(1, job_pb2.ROUND_STATE_MERGED)
    evaluated = _round(1, job_pb2.ROUND_STATE_MERGED, accuracy=0.5)

    def stream(_: int) -> Iterator[Update]:
        yield Update(job=_job(job_pb2.JOB_STATE_QUEUED, message="no trusted worker"))
        for rounds in ((merged,), (merged,), (evaluated,)):
            yield Update(job=_job(job_pb2.JOB_STATE_RUNNING, rounds))
        yield Update(job=_job(job_pb2.JOB_STATE_SUCCEEDED, (evaluated,)))

    peer.watch = stream
    assert job.wait(progress=True) is job
    assert capsys.readouterr().err.splitlines() == [
        "jobs/j1: QUEUED, no trusted worker",
        "jobs/j1: round 1 of 2 merged, 1 update, 2.00 s",
        "jobs/j1: RUNNING",
        "jobs/j1: round 1 of 2 merged, 1 update, 2.00 s, accuracy 0.5",
        "jobs/j1: SUCCEEDED",
    ]


def test_waiting_for_a_job_that_fails_raises_why(peer: Peer, job: Job) -> None:
    peer.watch = lambda _: iter([Update(job=_job(job_pb2.JOB_STATE_FAILED, message="shard 3 is quarantined"))])
    seen: list[JobUpdate] = []
    with pytest.raises(JobFailed, match="jobs/j1 FAILED: shard 3 is quarantined") as caught:
        job.wait(seen.append)
    assert (caught.value.state, len(seen)) == ("FAILED", 1)


def test_waiting_ends_with_its_timeout(peer: Peer, job: Job) -> None:
    peer.watch = lambda _: iter([Update(job=_job(job_pb2.JOB_STATE_RUNNING))])
    with pytest.raises(TrainNetError, match="is still RUNNING after 0 s"):
        job.wait(timeout=0)


def test_cancel_delete_and_list(client: Client) -> None:
    jobs = [client.train(None, "noop", name=f"n{index}") for index in range(3)]
    with pytest.raises(FailedPrecondition) as caught:
        jobs[0].delete()
    assert caught.value.reason == "NOT_ENDED"
    assert jobs[0].cancel().state is JobState.CANCELLED
    jobs[0].delete()
    assert [job.display_name for job in client.jobs.list()] == ["n2", "n1"]


def test_a_file_is_uploaded_and_trained_on(client: Client, peer: Peer, table: Path) -> None:
    job = client.train(
        table, "mlp", hyperparameters={"lr": 0.5, "hidden": (64, 32)}, pool="public", seed=3, holdout=0.1
    )
    assert (job.dataset, job.pool, job.seed) == ("datasets/d1", "public", 3)
    assert job.hyperparameters == {"lr": 0.5, "hidden": [64, 32]}
    assert client.train("datasets/d1", "mlp").dataset == client.train("d1", "mlp").dataset == "datasets/d1"
    assert client.train(client.datasets.get("d1"), "mlp").dataset == "datasets/d1"
    assert len(peer.datasets) == 1


@pytest.mark.parametrize(
    ("asked", "field", "complaint"),
    [
        ({"architecture": "mlpp"}, "spec.architecture", "there is no 'mlpp'"),
        ({"architecture": "noop"}, "spec.dataset", "noop takes no data"),
        ({"rounds": 0}, "spec.rounds", "must be greater than or equal to 1"),
        ({"rounds": 2**40}, "spec.rounds", "is too large"),
        ({"shards": 0}, "spec.plan.shards", "must be greater than or equal to 1"),
        ({"epochs": 0}, "spec.epochs", "0 is less than 1"),
        ({"epochs": 2, "local_steps": 5}, "spec.local_steps", "stands in place of epochs"),
        ({"local_steps": 0}, "spec.local_steps", "0 is less than 1"),
        ({"split": "random"}, "spec.plan.kind", "'random' is no split"),
        ({"alpha": 0.5}, "spec.plan.alpha", "a split iid has no alpha"),
        ({"split": "dirichlet", "alpha": 0}, "spec.plan.alpha", "0 is not from 0.001 to 1000"),
        ({"base": "hub:a b"}, "spec.base", "'a b' is no name on the hub"),
        ({"base": "none.safetensors"}, "spec.base", "there is no file or folder"),
        ({"hyperparameters": {"lora.targets": 3}}, "spec.hyperparameters.lora.targets", "3 is not a text"),
        ({"architecture": "noop", "base": "jobs/x", "dataset_or_path": None}, "spec.base", "starts from scratch only"),
        ({"holdout": 0.95}, "spec.plan.holdout_fraction", "less than or equal to 0.9"),
        ({"seed": 2**70}, "spec.seed", "is too large"),
        ({"pool": "strangers"}, "spec.pool", "neither trusted nor public"),
        ({"hyperparameters": {"lr": "fast"}}, "spec.hyperparameters.lr", "'fast' is not a number from 0 to 10"),
        ({"hyperparameters": {"lr": float("nan")}}, "spec.hyperparameters.lr", "nan is not a number"),
        ({"hyperparameters": {"lr": 11}}, "spec.hyperparameters.lr", "11 is not a number from 0 to 10"),
        ({"hyperparameters": {"batch_size": 1.5}}, "spec.hyperparameters.batch_size", "a whole number from 1 to 4096"),
        ({"hyperparameters": {"bias": 1}}, "spec.hyperparameters.bias", "true or false"),
        ({"hyperparameters": {"optimizer": "lion"}}, "spec.hyperparameters.optimizer", "one of sgd, adam"),
        ({"hyperparameters": {"hidden": [0]}}, "spec.hyperparameters.hidden", "of at least 1"),
        ({"hyperparameters": {"batchsize": 3}}, "spec.hyperparameters.batchsize", "has no such hyperparameter"),
    ],
)
def test_what_can_be_told_wrong_is_told_before_anything_is_uploaded(
    client: Client, peer: Peer, table: Path, asked: dict[str, Any], field: str, complaint: str
) -> None:
    with pytest.raises(InvalidArgument, match=complaint) as caught:
        client.train(**{"dataset_or_path": table, "architecture": "mlp", **asked})
    assert caught.value.field == field
    assert not peer.datasets
    assert not peer.jobs


def test_near_names_are_offered(client: Client, table: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.train(table, "mlp", hyperparameters={"batchsize": 3})
    assert caught.value.hint == "did you mean batch_size?"


def test_a_file_is_read_as_it_is_said(client: Client, peer: Peer, table: Path) -> None:
    client.train(table, "mlp", label="-", kinds={"x": "text"}, split_column="y", format="csv")
    dataset = client.datasets.get("datasets/d1")
    assert (dataset.label, dataset.kinds, dataset.split_column) == ("-", {"x": "text"}, "y")
    with pytest.raises(InvalidArgument, match="'words' is no kind of column"):
        client.train(table, "mlp", kinds={"x": "words"})
    assert len(peer.datasets) == 1


@pytest.mark.parametrize(
    "said", [{"label": "x"}, {"kinds": {"x": "text"}}, {"split_column": "x"}, {"format": "csv"}], ids=str
)
def test_how_to_read_what_is_not_uploaded_is_not_ignored(
    client: Client, peer: Peer, table: Path, said: dict[str, Any]
) -> None:
    client.train(table, "mlp")
    (name,) = said
    for data in ("datasets/d1", client.datasets.get("d1")):
        with pytest.raises(InvalidArgument, match=f"{name}: a data set is read as was said when it was uploaded"):
            client.train(data, "mlp", **said)
    with pytest.raises(InvalidArgument, match=f"{name}: there are no data to read"):
        client.train(None, "noop", **said)
    assert len(peer.jobs) == 1


def test_neither_a_file_nor_a_name(client: Client) -> None:
    with pytest.raises(InvalidFile, match=r"no/such\.csv: no such file"):
        client.train("no/such.csv", "mlp")
    with pytest.raises(NotFound):
        client.train("datasets/none", "mlp")
