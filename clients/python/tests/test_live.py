"""The live display: what it shows of a job, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from clients.python.tests.peer import TOKEN, Peer
from trainnet.cli.live import JobView, follow
from trainnet.client import Client, JobState, JobUpdate
from trainnet.v1 import job_pb2, task_pb2

Update = job_pb2.WatchJobResponse


def _updates(peer: Peer) -> Iterator[Update]:
    job = job_pb2.Job()
    job.CopyFrom(peer.jobs["jobs/j1"])
    job.state, job.state_message = job_pb2.JOB_STATE_QUEUED, "no trusted worker is online"
    yield Update(job=job)
    job.state, job.state_message = job_pb2.JOB_STATE_RUNNING, ""
    for number, accuracy in ((1, 0.5), (2, 0.9)):
        done = job.rounds.add(
            number=number, state=job_pb2.ROUND_STATE_MERGED, metrics={"accuracy": accuracy, "loss": 0.3}
        )
        done.open_time.FromSeconds(0)
        done.merged_time.FromSeconds(2)
    job.rounds.add(number=3, state=job_pb2.ROUND_STATE_OPEN, manifest=[job_pb2.ManifestEntry(shard=1)])
    training = job_pb2.TaskProgress(
        kind=task_pb2.TASK_KIND_TRAIN,
        round=3,
        shard=0,
        worker="workers/anna",
        phase=task_pb2.TASK_PHASE_RUNNING,
        step=30,
        total_steps=120,
        loss=0.25,
        samples_per_s=4512,
    )
    yield Update(job=job, progress=[training])
    job.state = job_pb2.JOB_STATE_SUCCEEDED
    yield Update(job=job)


def _shown(view: JobView, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_thing_a_person_wants_to_see(peer: Peer, client: Client) -> None:
    job = client.train(None, "noop", rounds=3, shards=2, name="my job")
    peer.watch = lambda _: _updates(peer)
    view = JobView(job)
    pictures = []
    for update in job.watch():
        view.update(update)
        pictures.append(_shown(view))
    waiting, running, ended = pictures
    assert "no trusted worker is online" in waiting
    assert "my job" in running
    assert "round 3 of 3, 1 of 2 shards in" in running
    assert "▁█" in running
    line = next(line for line in running.splitlines() if "shard 0" in line)
    assert all(text in line for text in ("anna", "training", "━", "30/120", "loss 0.2500", "4,512/s"))
    assert [line.split()[:3] for line in running.splitlines() if line.split()[:1] in (["1"], ["2"])] == [
        ["1", "0.5", "0.3"],
        ["2", "0.9", "0.3"],
    ]
    assert "✓ j1" in ended
    assert "shard 0" not in ended


def test_eighty_columns_cut_nothing(peer: Peer, client: Client) -> None:
    job = client.train(None, "noop", rounds=3, shards=2)
    peer.watch = lambda _: _updates(peer)
    view = JobView(job)
    _, running, _ = job.watch()
    view.update(running)
    (task,) = running.progress
    view.update(JobUpdate(running.job, (replace(task, worker="workers/somebody-7h2k9m4p", samples_per_s=12345.0),)))
    picture = _shown(view, 80)
    assert "…" not in picture
    line = next(line for line in picture.splitlines() if "shard 0" in line)
    assert all(text in line for text in ("somebody-7h2k9m4p", "training", "━", "30/120", "loss 0.2500", "12,345/s"))


def test_a_terminal_gets_the_picture_and_a_pipe_gets_lines(peer: Peer, client: Client) -> None:
    job = client.train(None, "noop", rounds=3, shards=2)
    peer.watch = lambda _: _updates(peer)
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    assert follow(job, console=terminal).state is JobState.SUCCEEDED
    pipe = Console(file=io.StringIO(), width=120)
    assert follow(job, console=pipe).state is JobState.SUCCEEDED
    assert isinstance(terminal.file, io.StringIO)
    assert isinstance(pipe.file, io.StringIO)
    assert "✓ j1" in terminal.file.getvalue()
    assert "\x1b" not in pipe.file.getvalue()
    assert "jobs/j1: round 2 of 3 merged" in pipe.file.getvalue()


def test_a_coordinator_that_stays_away_is_told_until_the_next_update(peer: Peer, client: Client) -> None:
    job = client.train(None, "noop", rounds=3, shards=2)
    peer.watch = lambda _: _updates(peer)
    view = JobView(job)
    view.away(0.5)
    assert "unreachable" not in _shown(view)
    view.away(12.3)
    assert "coordinator unreachable, trying again (12 s)…" in _shown(view)
    view.update(next(job.watch()))
    assert "unreachable" not in _shown(view)


def test_ctrl_c_detaches_and_says_how_to_come_back(peer: Peer, client: Client) -> None:
    client.train(None, "noop")
    over = threading.Event()
    watched = threading.Event()

    def stream(_: int) -> Iterator[Update]:
        yield Update(job=peer.jobs["jobs/j1"])
        watched.set()
        over.wait(30)

    peer.watch = stream
    own, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "trainnet.cli.main",
        "--address",
        peer.address,
        "--token",
        TOKEN,
        "jobs",
        "watch",
        "j1",
    ]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        seen = b""
        try:
            while b"j1" not in seen:  # the display is up
                seen += os.read(own, 4096)
            assert watched.wait(30)
            process.send_signal(signal.SIGINT)
            while True:
                try:
                    seen += os.read(own, 4096)
                except OSError:  # the other side of the terminal is closed
                    break
            assert process.wait(30) == 130
        finally:
            process.kill()
            over.set()
            os.close(own)
    told = " ".join(seen.decode().split())
    assert "detached, jobs/j1 goes on" in told
    assert "`trainnet jobs watch j1`" in told
    assert "`trainnet jobs cancel j1`" in told
    assert "Traceback" not in told


def test_a_language_model_shows_its_perplexity_and_where_it_began(client: Client, peer: Peer) -> None:
    job = client.train(None, "noop")
    message = peer.jobs[job.name]
    message.initial_metrics["perplexity"] = 812.0
    message.rounds.add(number=1, state=job_pb2.ROUND_STATE_MERGED, metrics={"perplexity": 40.5, "loss": 3.7})
    message.rounds.add(number=2, state=job_pb2.ROUND_STATE_MERGED, metrics={"perplexity": 31.25, "loss": 3.4})
    shown = _shown(JobView(job.refresh()))
    assert "perplexity" in shown
    assert "accuracy" not in shown
    assert "before" in shown
    assert all(figure in shown for figure in ("812", "40.5", "31.25", "█▁"))
