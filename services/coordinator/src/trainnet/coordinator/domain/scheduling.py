"""Which ready task goes to which free slot. A pure function of what is ready and who is there."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from trainnet.coordinator.domain.states import Pool
from trainnet.coordinator.domain.tasks import NOBODY, Shunned


@dataclass(frozen=True)
class ReadyTask:
    id: int
    priority: int
    pool: Pool
    """TRUSTED tasks go to trusted workers alone, PUBLIC ones to anybody."""
    architecture: str = ""
    shard_digest: str = ""
    last_worker: str = ""
    shunned: Shunned = NOBODY
    """Workers that it went wrong with; `domain/tasks.py` says who that is."""
    lingers: bool = False
    """It has been READY for so long that shunned workers may have it, whoever else is there."""
    taken: frozenset[str] = frozenset()
    """Workers that are at the same work already, which this is a backup of: they never get it."""


@dataclass(frozen=True)
class Candidate:
    worker: str
    free_slots: int
    """None for whoever is busy, connected elsewhere, or expected back: a task may wait for them."""
    pool: Pool
    architectures: frozenset[str]
    cached: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Match:
    task: int
    worker: str


def eligible(task: ReadyTask, candidate: Candidate) -> bool:
    if task.pool is Pool.TRUSTED and candidate.pool is not Pool.TRUSTED:
        return False
    if candidate.worker in task.taken:
        return False
    return not task.architecture or task.architecture in candidate.architectures


def match(tasks: Iterable[ReadyTask], candidates: Iterable[Candidate]) -> list[Match]:
    """Tasks in order of priority, then age. Within one priority those go first whose shard lies with a free worker
    (it trained the shard last, or caches its bytes), so that nobody else takes that worker; the rest go to whoever
    has most free slots. A task is never held back for a busy worker that has its shard: an idle slot costs more than
    a download. It is held back from workers that it went wrong with, while others are there who could do it.
    """
    by_worker = {candidate.worker: candidate for candidate in candidates}
    free = {worker: candidate.free_slots for worker, candidate in by_worker.items()}
    levels: dict[int, list[ReadyTask]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: task.id):
        levels[task.priority].append(task)

    matches: list[Match] = []

    def give(task: ReadyTask, worker: str) -> None:
        free[worker] -= 1
        matches.append(Match(task.id, worker))

    for priority in sorted(levels):
        homeless = []
        for task in levels[priority]:
            home = _home(task, by_worker, free)
            if home:
                give(task, home)
            else:
                homeless.append(task)
        for task in homeless:
            choice = _takers(task, by_worker, free)
            if choice:
                give(task, max(choice, key=lambda name: (free[name], name)))
    return matches


def _takers(task: ReadyTask, by_worker: dict[str, Candidate], free: dict[str, int]) -> list[str]:
    """Free workers that may have the task: of those that it did not go wrong with, else did not fail it, else all. The
    better ones go first, and unless the task lingers it waits for them rather than go to the others."""
    able = [name for name, candidate in by_worker.items() if eligible(task, candidate)]
    for avoided in (task.shunned.spent, task.shunned.failed, frozenset[str]()):
        there = [name for name in able if name not in avoided]
        idle = [name for name in there if free[name] > 0]
        if idle or (there and not task.lingers):
            return idle
    return []


def _home(task: ReadyTask, by_worker: dict[str, Candidate], free: dict[str, int]) -> str:
    """The free worker that has the task's shard already, or nothing."""

    def fits(name: str) -> bool:
        return free.get(name, 0) > 0 and name not in task.shunned.spent and eligible(task, by_worker[name])

    if task.last_worker and fits(task.last_worker):
        return task.last_worker
    if task.shard_digest:
        for name, candidate in by_worker.items():
            if task.shard_digest in candidate.cached and fits(name):
                return name
    return ""
