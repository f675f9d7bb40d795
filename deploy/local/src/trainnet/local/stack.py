"""All of TrainNet as supervised processes on this machine.

    with LocalStack(folder, workers=4) as stack:
        client = connect(stack.endpoints.grpc, stack.endpoints.token)
        stack.kill("worker-1", signal.SIGKILL)      # returns once the supervisor has seen the death
        stack.wait_ready("worker-1")                # it was started again

Children are called nats, store, coordinator, aggregator-1 … and worker-1 …. `async with` works too; every method may be
called from any thread, and those that wait have a deadline.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from trainnet.local import nats_server, ports, secrets, weed
from trainnet.local.endpoints import Endpoints
from trainnet.local.errors import ChildFailed, DataFolderUnusable, LocalError
from trainnet.local.files import private_folder
from trainnet.local.lock import DataLock
from trainnet.local.process import Guard
from trainnet.local.program import Program, RestartPolicy
from trainnet.local.services import Services
from trainnet.local.supervisor import Supervisor

WAIT = 60.0


class LocalStack:
    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int = 4,
        aggregators: int = 1,
        infrastructure_only: bool = False,
        grpc_port: int | None = None,
        nats_port: int | None = None,
        s3_port: int | None = None,
        database: str = "",
        keep_rounds: int = 2,
        threads: int = 1,
        log_level: str = "info",
        log_format: str = "json",
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Nothing is touched before start().

        data_dir            everything the stack keeps; can be used again, by one stack at a time
        infrastructure_only no services of ours: NATS and the object store only
        …_port              fixed ports; without them those of the last start, or free ones
        database            URL of the coordinator's database; without it a SQLite file in data_dir
        threads             compute threads of each worker
        settings            further TRAINNET_* variables for all services
        say                 gets a line when a child has died and when it is back
        """
        self.data_dir = data_dir.expanduser().absolute()
        self.restart_policy = RestartPolicy()
        self._workers = 0 if infrastructure_only else workers
        self._aggregators = 0 if infrastructure_only else aggregators
        self._infrastructure_only = infrastructure_only
        self._fixed_ports = {"grpc": grpc_port, "nats": nats_port, "s3": s3_port}
        self._database = database
        self._keep_rounds = keep_rounds
        self._threads = threads
        self._log = (log_level, log_format)
        self._settings = dict(settings or {})
        self._say = say
        self.stopping = False
        self._lock: DataLock | None = None
        self._guard: Guard | None = None
        self._supervisor: Supervisor | None = None
        self._endpoints: Endpoints | None = None
        self.ports: ports.Ports | None = None
        self.secrets: secrets.Secrets | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts everything and returns when all children are ready. On an error nothing is left running."""
        if self._lock is not None:
            raise LocalError("this stack is running already")
        self.stopping = False
        try:
            private_folder(self.data_dir)
            self._lock = DataLock(self.data_dir)
        except OSError as error:
            raise DataFolderUnusable(self.data_dir, error.strerror or str(error)) from error
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        assert self._lock is not None
        self.secrets = secrets.load_or_create(self.data_dir)
        self.ports = ports.choose(self.data_dir, self._fixed_ports)
        self._endpoints = Endpoints(
            grpc=f"{ports.HOST}:{self.ports.grpc}",
            nats=nats_server.url(self.ports.nats),
            s3=weed.url(self.ports.s3),
            token=self.secrets.admin_token,
            data_dir=str(self.data_dir),
        )
        # The guard keeps the lock too, so that after our kill -9 it is free only when the children are gone.
        self._guard = Guard(keep_open=[self._lock.descriptor])
        self._supervisor = Supervisor(
            self._programs(self.secrets, self.ports),
            log_dir=private_folder(self.data_dir / "logs"),
            guard=self._guard,
            policy=lambda: self.restart_policy,
            say=self._say,
            on_change=self._write_endpoints,
        )
        self._supervisor.start()
        self._write_endpoints()

    def _programs(self, secret: secrets.Secrets, port: ports.Ports) -> Sequence[Program]:
        infrastructure = [
            nats_server.program(self.data_dir, port.nats, secret),
            weed.program(self.data_dir, port, secret),
        ]
        if self._infrastructure_only:
            return infrastructure
        level, form = self._log
        services = Services(
            self.data_dir,
            port,
            secret,
            self._keep_rounds,
            self._threads,
            level,
            form,
            self._settings,
            self._database,
        )
        return [
            *infrastructure,
            services.coordinator(),
            *(services.aggregator(number + 1) for number in range(self._aggregators)),
            *(services.worker(number + 1) for number in range(self._workers)),
        ]

    def _write_endpoints(self) -> None:
        assert self._endpoints is not None
        self._endpoints.with_pids({"supervisor": os.getpid(), **self.pids}).write()

    def stop(self) -> None:
        """Stops everything, dependents first, within 10 s. May be called again, and after a start that failed."""
        self.stopping = True
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self.ports is not None:
            weed.remove_sockets(self.ports)
        if self._endpoints is not None:
            self._endpoints.remove()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def kill_all(self) -> None:
        """SIGKILL for every child, for who cannot wait; stop() still has to be called, and is quick then."""
        if self._supervisor is not None:
            self._supervisor.kill_all()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded: a cancelled test must not leave processes behind.
        await asyncio.shield(asyncio.to_thread(self.stop))

    # --- a look at it -------------------------------------------------------------------------------------------

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise LocalError("the stack has not been started")
        return self._endpoints

    @property
    def names(self) -> list[str]:
        return self._running().names

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the children that run at this moment."""
        return self._running().pids

    def pid(self, name: str) -> int:
        pid = self._running().child(name).pid
        if pid is None:
            raise LocalError(f"{name} is not running")
        return pid

    def log(self, name: str) -> Path:
        return self._running().child(name).log

    def runs(self, name: str) -> int:
        """How many times the child was started."""
        return self._running().child(name).runs

    # --- hands on it, for tests and benches -----------------------------------------------------------------------

    def kill(self, name: str, number: int = signal.SIGKILL, *, group: bool = False) -> None:
        """Signals a child, with `group` its own children too. After SIGKILL the supervisor knows of the death."""
        child = self._running().child(name)
        run = child.send(number, group)
        if number == signal.SIGKILL and not child.wait_ended(run, WAIT):
            raise ChildFailed(name, "did not die of SIGKILL", child.log, "")

    def wait_ready(self, name: str, timeout: float = WAIT) -> None:
        """Returns once the child is ready; raises ChildFailed when it is not in time."""
        self._running().wait_ready(name, timeout)

    async def until_ready(self, name: str, timeout: float = WAIT) -> None:  # noqa: ASYNC109 (passed on to a thread)
        """wait_ready for async code."""
        await asyncio.to_thread(self.wait_ready, name, timeout)

    def hold_down(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a child by this signal and keeps it down until bring_up()."""
        child = self._running().child(name)
        child.want(False)
        run = child.send(number)
        if not child.wait_ended(run, WAIT):
            raise ChildFailed(name, f"did not end within {WAIT:g} s of signal {number}", child.log, "")

    def bring_up(self, name: str, timeout: float = WAIT) -> None:
        """Starts a child that was held down and waits until it is ready."""
        self._running().child(name).want(True)
        self.wait_ready(name, timeout)

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise LocalError("the stack is not running")
        return self._supervisor
