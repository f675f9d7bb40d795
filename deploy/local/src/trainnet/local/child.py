"""One supervised child: a thread that starts its program, waits until it is ready, and starts it again when it dies."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from trainnet.local.errors import ChildFailed
from trainnet.local.process import Guard, Process, tail
from trainnet.local.program import Program, RestartPolicy

# How often a readiness check is made; the checks are cheap.
POLL = 0.02


class Child:
    """Its state is guarded by `changed`, a condition that all children of a supervisor share and notify."""

    def __init__(
        self,
        program: Program,
        log: Path,
        policy: Callable[[], RestartPolicy],
        guard: Guard,
        changed: threading.Condition,
        say: Callable[[str], None],
    ) -> None:
        self.program = program
        self.log = log
        self.ready = False
        self.runs = 0  # how many times it was started
        self.failure: ChildFailed | None = None  # why it could not be started the first time
        self._policy = policy
        self._guard = guard
        self._changed = changed
        self._say = say
        self._wanted = False
        self._finished = False
        self._process: Process | None = None
        self._thread = threading.Thread(target=self._run, name=f"child-{program.name}", daemon=True)

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process else None

    def begin(self) -> None:
        self._thread.start()

    def want(self, wanted: bool) -> None:
        """Whether the child is to run: a child that is not wanted stays down once it has ended."""
        with self._changed:
            self._wanted = wanted
            self._changed.notify_all()

    def send(self, number: int, group: bool = False) -> int:
        """Signals the running child; the number of the run that got it."""
        with self._changed:
            if self._process is not None:
                self._process.send(number, group)
            return self.runs

    def wait_ended(self, run: int, timeout: float) -> bool:
        """Whether that run has ended, and is known to have, within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.runs > run or self._process is None, timeout)

    def finish(self, timeout: float) -> None:
        """Stops the child for good: SIGTERM, after `timeout` SIGKILL; nothing is left of its group."""
        with self._changed:
            self._finished = True
            self._wanted = False
            self._changed.notify_all()
            process = self._process
        if process is not None:
            process.send(signal.SIGTERM)
            # A stopped process (SIGSTOP) would not see the SIGTERM.
            process.send(signal.SIGCONT, group=True)
            if not process.wait(timeout):
                process.send(signal.SIGKILL, group=True)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._live()
        except Exception as error:  # noqa: BLE001 (the thread's last words, whatever they are)
            with self._changed:
                self.failure = ChildFailed(self.program.name, f"cannot be run ({error})", self.log, tail(self.log))
                self._process = None
                self.ready = False
                self._changed.notify_all()
            self._say(str(self.failure))

    def _live(self) -> None:
        failures, died, end = 0, 0.0, ""
        while self._wait_wanted():
            process = self._start()
            if self._wait_ready(process):
                if failures:
                    self._say(f"{self.program.name} {end}, restarted in {time.monotonic() - died:.1f} s")
                became_ready = time.monotonic()
                process.wait()
                died = time.monotonic()
                failures = 1 if died - became_ready > self._policy().healthy_after else failures + 1
                end = f"died ({process.describe_end()})"
                self._ended(process)
            else:
                late = not process.ended
                process.send(signal.SIGKILL, group=True)
                process.wait()
                failures += 1
                what = f"was not ready after {self.program.start_within:g} s" if late else process.describe_end()
                self._ended(process)
                self._report_failed_start(f"did not start ({what})", failures)
            self._back_off(failures)

    def _report_failed_start(self, end: str, failures: int) -> None:
        with self._changed:
            if not self._wanted:
                return
            if self.runs == 1:
                self.failure = ChildFailed(self.program.name, end, self.log, tail(self.log))
                self._changed.notify_all()
                return
        self._say(f"{self.program.name} {end}, next try in {self._policy().delay(failures):.1f} s; its log: {self.log}")

    def _wait_wanted(self) -> bool:
        """Waits until the child is to run; False when it never will again."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._finished)
            return not self._finished

    def _start(self) -> Process:
        self.program.readiness.reset()
        process = Process(
            self.program.command, self.program.environment(), self.program.cwd, self.log, guarded_by=self._guard
        )
        with self._changed:
            self._process = process
            self.runs += 1
            self._changed.notify_all()
            if self._finished:  # finish() looked before there was a process
                process.send(signal.SIGKILL, group=True)
        return process

    def _wait_ready(self, process: Process) -> bool:
        deadline = time.monotonic() + self.program.start_within
        while not process.ended and time.monotonic() < deadline:
            # Ended again after the check: another process may have answered in its place.
            if self.program.readiness.check() and not process.ended:
                with self._changed:
                    self.ready = True
                    self._changed.notify_all()
                return True
            process.wait(POLL)
        return False

    def _ended(self, process: Process) -> None:
        process.clear()
        with self._changed:
            self.ready = False
            self._process = None
            self._changed.notify_all()

    def _back_off(self, failures: int) -> None:
        with self._changed:
            # Not wanted, or just wanted again by hand: no reason to wait.
            self._changed.wait_for(lambda: not self._wanted, self._policy().delay(failures))
