"""Kills the children of a supervisor that died without stopping them, even by kill -9.

A process of its own that reads its standard input: '+PGID' and '-PGID' lines add and drop a process group. When the
supervisor dies, the kernel closes the pipe; the guard then kills every group that is left. Groups, not processes: a
child's own children go too, which PR_SET_PDEATHSIG would not reach, and it works outside of Linux.

Run as a script, without site packages: it starts in milliseconds and imports nothing that could fail.
"""

import os
import signal
import sys
import time

GONE_WITHIN = 5.0


def kill(group: int, number: int) -> bool:
    """Whether the group still had a process to signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def left(groups: set[int]) -> bool:
    """Whether a process of these groups still runs. Zombies do not count: who adopts orphans may take its time."""
    if not os.path.exists("/proc/self/stat"):
        return any(kill(group, 0) for group in groups)
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, _, group = file.read().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it has just ended
            continue
        if int(group) in groups and state not in "ZX":
            return True
    return False


def main() -> None:
    # Ctrl-C and a closed terminal are the supervisor's business.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        kill(group, signal.SIGKILL)
    # The guard holds the data folder's lock as well: the next stack may start once nobody writes there any more.
    deadline = time.monotonic() + GONE_WITHIN
    while left(groups) and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
