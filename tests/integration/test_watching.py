"""Who watches a job sees that the coordinator is away, and goes on watching when it is back."""

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.data import breast_cancer_csv
from tests.support.jobs import Recipe, until_training
from tests.support.stacks import Stack
from tests.support.until import until
from trainnet.local.executables import find

TRAINING = Recipe("mlp", rounds=1, shards=2, epochs=240, settings=(("batch_size", 8),))
AWAY = "coordinator unreachable, trying again ("


class Watcher:
    """`trainnet jobs watch` as a process, and all that it printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], source: int) -> None:
        self.process = process
        self.shown = ""
        self._source = source
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._source, 65536)
            except OSError:  # the other side of a terminal is closed
                return
            if not data:
                return
            self.shown += data.decode(errors="replace")

    def ended(self) -> int:
        code = self.process.wait(90)
        self._reader.join(10)
        return code


@contextmanager
def watching(job: str, data_dir: Path, *, terminal: bool) -> Iterator[Watcher]:
    source, sink = pty.openpty() if terminal else os.pipe()
    command = [find("trainnet", package="trainnet[cli]"), "jobs", "watch", job]
    env = {**os.environ, "TRAINNET_DATA": str(data_dir), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env) as process:
        os.close(sink)
        try:
            yield Watcher(process, source)
        finally:
            process.kill()
            process.wait()
            os.close(source)


@pytest.mark.timeout(240)
def test_a_watch_tells_that_the_coordinator_is_away_and_goes_on(stack: Stack, tmp_path: Path) -> None:
    dataset = stack.client.datasets.upload(breast_cancer_csv(tmp_path / "cells.csv")).wait(timeout=60)
    job, folder = TRAINING.start(stack.client, dataset), stack.local.data_dir
    with watching(job.id, folder, terminal=True) as live, watching(job.id, folder, terminal=False) as plain:
        watchers = (live, plain)
        for watcher in watchers:
            until(lambda shown=watcher: "running" in shown.shown.lower(), "a watch of the running job")  # type: ignore[misc]
        until_training(job)
        stack.local.hold_down("coordinator")
        try:
            for watcher in watchers:
                until(lambda shown=watcher: AWAY in shown.shown, "word of the coordinator that is away")  # type: ignore[misc]
        finally:
            stack.local.bring_up("coordinator")
        assert [watcher.ended() for watcher in watchers] == [0, 0]
    stack.wait_healthy()
    assert plain.shown.count(AWAY) == 1
    assert "coordinator is back" in plain.shown
    assert f"{job.name} SUCCEEDED" in plain.shown
    assert "\x1b" not in plain.shown
    picture = live.shown.rpartition("✓")[2]
    assert job.id in picture
    assert AWAY not in picture
