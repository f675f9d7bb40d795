"""Commands on a terminal: what they ask, what an answer does, and what Ctrl-C leaves behind."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clients.python.tests.peer import TOKEN, Peer
from trainnet.client import Client
from trainnet.v1 import job_pb2


def talk(peer: Peer, *arguments: str, after: str, say: str) -> tuple[int, str]:
    """Runs a command; once it shows `after`, says something to it, or interrupts it. Answers its exit code and text."""
    own, theirs = pty.openpty()
    command = [sys.executable, "-m", "trainnet.cli.main", "--address", peer.address, "--token", TOKEN, *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        seen, said = b"", False
        try:
            while True:
                # A signal that comes just before the program begins to read is lost on it: a person presses again.
                if said and say == "Ctrl-C" and not select.select([own], [], [], 1.0)[0]:
                    process.send_signal(signal.SIGINT)
                    continue
                try:
                    seen += os.read(own, 4096)
                except OSError:  # the other side of the terminal is closed
                    break
                if not said and after in seen.decode(errors="replace"):
                    said = True
                    if say == "Ctrl-C":
                        process.send_signal(signal.SIGINT)
                    else:
                        os.write(own, f"{say}\n".encode())
            code = process.wait(30)
        finally:
            process.kill()
            os.close(own)
    text = seen.decode().replace("\r\n", "\n")
    assert "Traceback" not in text
    return code, text


@pytest.mark.parametrize(
    ("say", "code", "told"), [("y", 0, "deleted jobs/j1"), ("n", 1, "nothing was done"), ("Ctrl-C", 130, "interrupted")]
)
def test_a_deletion_asks_first(peer: Peer, client: Client, say: str, code: int, told: str) -> None:
    client.train(None, "noop")
    peer.jobs["jobs/j1"].state = job_pb2.JOB_STATE_CANCELLED
    ended, text = talk(peer, "jobs", "delete", "j1", after="[y/N]", say=say)
    assert (ended, text.splitlines()[-1].strip()) == (code, told)
    assert ("jobs/j1" in peer.jobs) is (say != "y")


def test_ctrl_c_leaves_one_clean_line(peer: Peer, table: Path) -> None:
    peer.ready_after = 10**9
    code, text = talk(peer, "datasets", "upload", str(table), after="preparing", say="Ctrl-C")
    assert (code, text.splitlines()[-1]) == (130, "interrupted")
