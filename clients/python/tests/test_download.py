"""Models arrive whole and right, or not at all."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import grpc
import pytest

from clients.python.tests.peer import Peer, Refusal, model_file
from clients.python.tests.store import Store
from trainnet.client import Client, DownloadCorrupt, DownloadFailed, FailedPrecondition, InvalidFile, Job
from trainnet.v1 import job_pb2, worker_pb2

WEIGHTS = random.Random(7).randbytes(3_000_000)


@pytest.fixture(params=[0, 1_000_000], ids=["whole", "composite"])
def job(request: pytest.FixtureRequest, peer: Peer, store: Store, client: Client) -> Job:
    """A job whose model has one large file and one small one."""
    artifact = store.artifact("weights", WEIGHTS, part_size=request.param)
    peer.models[2] = [model_file("model.safetensors", WEIGHTS, artifact), model_file("config.json", b"{}")]
    return client.train(None, "noop")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_model_is_a_folder(job: Job, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    folder = job.download(tmp_path / "new" / "model", progress=lambda *news: told.append(news))
    assert _files(tmp_path / "new") == ["model", "model/config.json", "model/model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert told[-1] == ("download model.safetensors", len(WEIGHTS), len(WEIGHTS))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainnet.client._model._WAIT_S", 1)


def _end(peer: Peer, job: Job) -> None:
    peer.jobs[job.name].state = job_pb2.JOB_STATE_SUCCEEDED
    peer.jobs[job.name].merged_rounds = 2


def test_the_folder_that_a_worker_makes_is_waited_for(job: Job, peer: Peer, tmp_path: Path, quick: None) -> None:
    _end(peer, job)
    peer.workers = [worker_pb2.Worker(name="workers/w", pool=job_pb2.POOL_TRUSTED, online=True)]
    peer.folder = [model_file("config.json", b"whole"), model_file("plots/loss.png", b"png")]
    told: list[str] = []

    def made(what: str, done: int, total: int) -> None:
        told.append(what)
        peer.made.set()

    assert _files(job.download(tmp_path / "model", progress=made)) == ["config.json", "plots", "plots/loss.png"]
    assert told == ["export"]


def test_nobody_is_waited_for_who_is_not_there(job: Job, peer: Peer, tmp_path: Path, quick: None) -> None:
    _end(peer, job)
    peer.folder = [model_file("config.json", b"whole")]
    assert "model.safetensors" in _files(job.download(tmp_path / "model"))


def test_nothing_is_waited_for_that_will_not_come(job: Job, peer: Peer, tmp_path: Path) -> None:
    _end(peer, job)
    peer.workers = [worker_pb2.Worker(name="workers/w", pool=job_pb2.POOL_TRUSTED, online=True)]
    assert "model.safetensors" in _files(job.download(tmp_path / "answered at once"))
    peer.folder = [model_file("config.json", b"whole")]
    assert "model.safetensors" in _files(job.download(tmp_path / "not wanted", wait=False))
    peer.models[1] = peer.models[2]
    assert "model.safetensors" in _files(job.download(tmp_path / "an earlier round", 1))


def test_broken_connections_are_resumed_by_range(job: Job, store: Store, tmp_path: Path) -> None:
    store.faults.extend(["cut", "503", "cut", "403"])
    folder = job.download(tmp_path / "model")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    half = len(WEIGHTS) // 2
    ranges = [wanted for _, wanted, _ in store.seen]
    assert ranges[:3] == ["", f"bytes={half}-", f"bytes={half}-"]
    assert len(ranges) == 5
    assert ranges[3] == ranges[4] == f"bytes={half + (len(WEIGHTS) - half) // 2}-"


def test_rotten_bytes_are_fetched_once_more(job: Job, store: Store, tmp_path: Path) -> None:
    store.faults.append("rot")
    assert (job.download(tmp_path / "model") / "model.safetensors").read_bytes() == WEIGHTS


def test_bytes_that_stay_rotten_never_arrive(job: Job, store: Store, tmp_path: Path) -> None:
    store.faults.extend(["rot"] * 9)
    with pytest.raises(DownloadCorrupt, match=r"model\.safetensors: the bytes in the store are not the promised ones"):
        job.download(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_given_up_download_is_resumed_by_the_next_one(job: Job, store: Store, tmp_path: Path) -> None:
    store.faults.extend(["cut", *["503"] * 20])
    with pytest.raises(DownloadFailed, match="503 Ordered"):
        job.download(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    store.faults.clear()
    store.seen.clear()
    job.download(tmp_path / "model")
    assert [wanted for _, wanted, _ in store.seen] == [f"bytes={len(WEIGHTS) // 2}-"]
    assert _files(tmp_path) == ["model", "model/config.json", "model/model.safetensors"]


def test_a_round_that_is_collected_while_it_comes_is_told(job: Job, peer: Peer, store: Store, tmp_path: Path) -> None:
    del store.objects["weights"]
    gone = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "the weights of round 2 were collected", reason="COLLECTED")
    store.missed = lambda: peer.orders.update(GetModel=deque([gone]))
    with pytest.raises(FailedPrecondition, match="the weights of round 2 were collected"):
        job.download(tmp_path / "model", 2)


def test_a_folder_in_use_is_left_alone_unless_told(job: Job, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    job.download(target)  # an empty one gives way
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InvalidFile, match="holds something already"):
        job.download(target)
    assert (target / "notes.txt").exists()
    job.download(target, overwrite=True)
    assert _files(tmp_path) == ["model", "model/config.json", "model/model.safetensors"]
    with pytest.raises(InvalidFile, match="is a file"):
        job.download(target / "config.json")


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_no_file_lands_outside_the_folder(peer: Peer, client: Client, tmp_path: Path, path: str) -> None:
    peer.models[1] = [model_file(path, b"evil")]
    with pytest.raises(DownloadCorrupt, match="leads out of its folder"):
        client.train(None, "noop").download(tmp_path / "inner" / "model")
    assert not [found for found in tmp_path.rglob("*") if found.is_file()]


def test_a_small_file_is_checked_too(peer: Peer, client: Client, tmp_path: Path) -> None:
    bad = model_file("config.json", b"{}")
    bad.inline = b"[]"
    peer.models[1] = [bad]
    with pytest.raises(DownloadCorrupt):
        client.train(None, "noop").download(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_no_model_yet_is_the_servers_word(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        client.train(None, "noop").download(tmp_path / "model")
    assert caught.value.reason == "NO_MODEL"


def test_a_restart_between_question_and_answer_is_no_matter(peer: Peer, job: Job, tmp_path: Path) -> None:
    peer.order("GetModel", Refusal(grpc.StatusCode.UNAVAILABLE, "restarting"), times=2)
    assert job.download(tmp_path / "model").is_dir()
