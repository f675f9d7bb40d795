"""The supervisor with small programs of the tests' own: order, restarts, failures, the end."""

import dataclasses
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deploy.local.tests.lines import Lines
from trainnet.local.errors import ChildFailed, NoSuchChild
from trainnet.local.process import Guard
from trainnet.local.program import Program, RestartPolicy
from trainnet.local.ready import FileWritten
from trainnet.local.supervisor import Supervisor

SERVE = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text('x'); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE


def program(folder: Path, name: str, code: str = SERVE, after: tuple[str, ...] = ()) -> Program:
    ready = folder / f"{name}.ready"
    return Program(
        name=name,
        command=(sys.executable, "-c", code, str(ready)),
        readiness=FileWritten(ready),
        cwd=folder,
        after=after,
        stop_within=1.0,
    )


@contextmanager
def running(supervisor: Supervisor) -> Iterator[Supervisor]:
    try:
        supervisor.start()
        yield supervisor
    finally:
        supervisor.stop()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_gone(pid: int, within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def test_a_child_starts_when_those_it_needs_are_ready_and_stops_before_them(tmp_path: Path, guard: Guard) -> None:
    trace = tmp_path / "trace"
    code = (
        "import pathlib, signal, sys\n"
        "note = lambda what: open({trace!r}, 'a').write(f'{name} {{what}}\\n')\n"
        "note('starts'); pathlib.Path(sys.argv[1]).write_text('x')\n"
        "signal.sigwait([signal.SIGTERM]); note('stops')\n"
    )
    block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    programs = [
        program(tmp_path, name, block + code.format(trace=str(trace), name=name), after)
        for name, after in (("c", ("b",)), ("b", ("a",)), ("a", ()))
    ]
    with running(Supervisor(programs, tmp_path, guard)):
        pass
    assert trace.read_text().splitlines() == ["a starts", "b starts", "c starts", "c stops", "b stops", "a stops"]


def test_a_dead_child_is_started_again_and_said_so(tmp_path: Path, guard: Guard, lines: Lines) -> None:
    with running(Supervisor([program(tmp_path, "server")], tmp_path, guard, say=lines)) as supervisor:
        first = supervisor.pids["server"]
        run = supervisor.child("server").send(signal.SIGKILL)
        assert supervisor.child("server").wait_ended(run, 5.0)
        supervisor.wait_ready("server", 10.0)
        assert supervisor.pids["server"] != first
        said = lines.wait_for(lambda line: "restarted" in line)
        assert said.startswith("server died (killed by signal 9), restarted in 0.")


def test_what_a_dead_child_left_running_is_killed(tmp_path: Path, guard: Guard) -> None:
    left = tmp_path / "left"
    code = (
        f"import subprocess, sys; p = subprocess.Popen(['sleep', '600']); open({str(left)!r}, 'w').write(str(p.pid)); "
    )
    with running(Supervisor([program(tmp_path, "server", code + SERVE)], tmp_path, guard)) as supervisor:
        orphan = int(left.read_text())
        supervisor.child("server").send(signal.SIGKILL)
        wait_gone(orphan)


def test_failing_restarts_wait_longer_and_longer(tmp_path: Path, guard: Guard, lines: Lines) -> None:
    code = f"import os, sys; os.path.exists({str(tmp_path / 'broken')!r}) and sys.exit('broken'); " + SERVE
    policy = RestartPolicy(first=0.01, longest=0.04)
    supervisor = Supervisor([program(tmp_path, "server", code)], tmp_path, guard, policy=lambda: policy, say=lines)
    with running(supervisor):
        (tmp_path / "broken").touch()
        supervisor.child("server").send(signal.SIGKILL)
        lines.wait_for(lambda line: "did not start (exit code 1), next try in 0.0" in line)
        (tmp_path / "broken").unlink()
        lines.wait_for(lambda line: line.startswith("server died (killed by signal 9), restarted in"))
    assert [policy.delay(failures) for failures in (1, 2, 3, 4, 5_000)] == [0.01, 0.02, 0.04, 0.04, 0.04]


def test_a_child_that_cannot_start_is_an_error_with_the_end_of_its_log(tmp_path: Path, guard: Guard) -> None:
    broken = program(tmp_path, "broken", "import sys; sys.exit('the database is of a newer version')")
    supervisor = Supervisor([program(tmp_path, "fine"), broken], tmp_path, guard)
    with (
        pytest.raises(ChildFailed, match=r"(?s)broken did not start \(exit code 1\).*newer"),
        running(supervisor),
    ):
        pytest.fail("started")
    assert supervisor.pids == {}


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path, guard: Guard) -> None:
    missing = dataclasses.replace(program(tmp_path, "missing"), command=(str(tmp_path / "missing"),))
    with pytest.raises(ChildFailed, match="missing cannot be run"), running(Supervisor([missing], tmp_path, guard)):
        pytest.fail("started")


def test_a_child_that_never_gets_ready_is_an_error(tmp_path: Path, guard: Guard) -> None:
    slow = dataclasses.replace(program(tmp_path, "slow", "import time; time.sleep(600)"), start_within=0.2)
    supervisor = Supervisor([slow], tmp_path, guard)
    with pytest.raises(ChildFailed, match=r"slow did not start \(was not ready after 0.2 s\)"), running(supervisor):
        pytest.fail("started")


@pytest.mark.parametrize("state", ["ignores SIGTERM", "stopped by SIGSTOP"])
def test_a_child_that_does_not_end_is_killed(tmp_path: Path, guard: Guard, state: str) -> None:
    code = STUBBORN if state == "ignores SIGTERM" else SERVE
    supervisor = Supervisor([program(tmp_path, "server", code)], tmp_path, guard)
    with running(supervisor):
        pid = supervisor.pids["server"]
        if state == "stopped by SIGSTOP":
            supervisor.child("server").send(signal.SIGSTOP)
    assert gone(pid)


def test_a_guard_that_was_killed_is_replaced(tmp_path: Path, guard: Guard) -> None:
    with running(Supervisor([program(tmp_path, "server")], tmp_path, guard)) as supervisor:
        guard._process.kill()
        guard._process.wait()
        supervisor.child("server").send(signal.SIGKILL)
        supervisor.wait_ready("server", 10.0)
        run = supervisor.child("server").runs
        assert supervisor.child("server").wait_ended(run - 1, 10.0)
        supervisor.wait_ready("server", 10.0)
        pid = supervisor.pids["server"]
        guard.close()
        wait_gone(pid)


def test_children_see_a_small_environment(tmp_path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not theirs")
    seen = tmp_path / "seen"
    code = f"import os; open({str(seen)!r}, 'w').write(' '.join(os.environ)); " + SERVE
    ours = dataclasses.replace(program(tmp_path, "server", code), env={"TRAINNET_NAME": "x"})
    with running(Supervisor([ours], tmp_path, guard)):
        names = set(seen.read_text().split())
    assert "TRAINNET_NAME" in names
    assert "PATH" in names
    assert "AWS_SECRET_ACCESS_KEY" not in names


def test_logs_of_earlier_starts_are_kept_aside(tmp_path: Path, guard: Guard) -> None:
    for start in range(5):
        code = f"print('start {start}', flush=True); " + SERVE
        with running(Supervisor([program(tmp_path, "server", code)], tmp_path, guard)):
            pass
    logs = sorted(path.name for path in tmp_path.glob("server.log*"))
    assert logs == ["server.log", "server.log.1", "server.log.2"]
    assert [(tmp_path / log).read_text().strip() for log in logs] == ["start 4", "start 3", "start 2"]


def test_a_name_that_nobody_has(tmp_path: Path, guard: Guard) -> None:
    supervisor = Supervisor([program(tmp_path, "server")], tmp_path, guard)
    with pytest.raises(NoSuchChild, match="no child is called 'worker-9': they are server"):
        supervisor.child("worker-9")
