"""Keeps a set of children running: starts them in the order of their needs, restarts the dead, stops them all."""

import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path

from trainnet.local.child import Child
from trainnet.local.errors import ChildFailed, NoSuchChild
from trainnet.local.process import Guard, rotate_log, tail
from trainnet.local.program import Program, RestartPolicy


class Supervisor:
    def __init__(
        self,
        programs: Iterable[Program],
        log_dir: Path,
        guard: Guard,
        policy: Callable[[], RestartPolicy] = RestartPolicy,
        say: Callable[[str], None] = lambda line: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`say` gets a line for the person at the terminal; `on_change` is called after a child came or went."""
        self._programs = {program.name: program for program in programs}
        self._order = tuple(TopologicalSorter({p.name: p.after for p in self._programs.values()}).static_order())
        self._changed = threading.Condition()
        self._on_change = on_change
        self._closing = False
        self._children: dict[str, Child] = {}
        for program in self._programs.values():
            log = log_dir / f"{program.name}.log"
            rotate_log(log)
            self._children[program.name] = Child(program, log, policy, guard, self._changed, say)
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    @property
    def names(self) -> list[str]:
        return list(self._children)

    @property
    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    def child(self, name: str) -> Child:
        try:
            return self._children[name]
        except KeyError:
            raise NoSuchChild(name, self.names) from None

    def start(self) -> None:
        """Starts every child as soon as those it needs are ready; returns when all are.

        Raises ChildFailed when one cannot be started.
        """
        self._watcher.start()
        for child in self._children.values():
            child.begin()
        waiting = set(self._order)
        with self._changed:
            while waiting or not all(child.ready for child in self._children.values()):
                for child in self._children.values():
                    if child.failure:
                        raise child.failure
                for name in [name for name in waiting if self._needs_met(name)]:
                    waiting.remove(name)
                    self._children[name].want(True)
                # With a timeout only so that a Ctrl-C gets through on every platform.
                self._changed.wait(1.0)

    def _needs_met(self, name: str) -> bool:
        return all(self._children[need].ready for need in self._programs[name].after)

    def wait_ready(self, name: str, timeout: float) -> None:
        """Returns once the child is ready; raises ChildFailed when it is not in time."""
        child = self.child(name)
        with self._changed:
            if not self._changed.wait_for(lambda: child.ready, timeout):
                raise ChildFailed(name, f"was not ready within {timeout:g} s", child.log, tail(child.log))

    def stop(self) -> None:
        """Stops all, dependents first, each layer together. What does not end in its time is killed."""
        needed_by = {name: [p.name for p in self._programs.values() if name in p.after] for name in self._programs}
        sorter = TopologicalSorter(needed_by)
        sorter.prepare()
        with ThreadPoolExecutor(max_workers=max(1, len(self._children))) as pool:
            while sorter.is_active():
                layer = sorter.get_ready()
                list(pool.map(lambda name: self._children[name].finish(self._programs[name].stop_within), layer))
                sorter.done(*layer)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._watcher.is_alive():
            self._watcher.join()

    def kill_all(self) -> None:
        """SIGKILL for everybody, for a person who does not want to wait; stop() still has to be called."""
        for child in self._children.values():
            child.want(False)
            child.send(signal.SIGKILL, group=True)

    def _watch(self) -> None:
        """Calls on_change whenever the set of running processes is another one."""
        known: dict[str, int] = {}
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self.pids != known)  # noqa: B023 (called at once)
                known = self.pids
            if not self._closing:
                self._on_change()
