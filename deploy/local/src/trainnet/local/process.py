"""Starting and ending child processes, each the leader of a process group that the guard knows."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainnet.local import guard

KEPT_LOGS = 3


class Guard:
    """The guard process; it is started again when it is found dead."""

    def __init__(self, keep_open: Sequence[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard.__file__)],
            stdin=subprocess.PIPE,
            bufsize=0,
            # Not in our session: what kills our process group must not kill the guard along with us.
            start_new_session=True,
            pass_fds=self._keep_open,
        )

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())

    def add(self, group: int) -> None:
        with self._lock:
            self._groups.add(group)
            try:
                self._tell(f"+{group}\n")
            except BrokenPipeError:
                self._close()
                self._process = self._start()
                for known in self._groups:
                    self._tell(f"+{known}\n")

    def drop(self, group: int) -> None:
        with self._lock:
            self._groups.discard(group)
            with contextlib.suppress(BrokenPipeError):
                self._tell(f"-{group}\n")

    def close(self) -> None:
        """Ends the guard; groups that were not dropped are killed."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Process:
    """One run of a program."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, guarded_by: Guard) -> None:
        self._guard = guarded_by
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: the terminal's Ctrl-C reaches the supervisor only, which stops all in order.
                process_group=0,
            )
        self.pid = self._popen.pid
        self._guard.add(self.pid)

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def send(self, number: int, group: bool = False) -> None:
        """Signals the process, or its whole group; one that has ended is left in peace."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                self._popen.send_signal(number)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it ended within `timeout` seconds."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def clear(self) -> None:
        """After the end: kills what the process left running in its group."""
        self.send(signal.SIGKILL, group=True)
        self._guard.drop(self.pid)

    def describe_end(self) -> str:
        code = self._popen.returncode
        if code is None:
            return "still running"
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def rotate_log(log: Path) -> None:
    """Moves the log of the last start aside, so that a log tells of one start of the stack."""
    for number in range(KEPT_LOGS - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if newer.exists():
            newer.replace(older)


def tail(log: Path, lines: int = 15, limit: int = 8_192) -> str:
    """The end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - limit))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
