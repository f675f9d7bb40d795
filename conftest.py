"""For all tests: what runs side by side under pytest-xdist, and what processes inherit."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

TOGETHER = ("services/aggregator/tests", "services/coordinator/tests", "services/runtime/tests", "tests/integration")
"""Folders whose files share servers that take seconds to start. Elsewhere each file is by itself."""

LONG = ("services/coordinator/tests", "tests/", "deploy/")
"""These go first, so that short files fill up the end."""

# Whoever runs beside others computes on one thread: more of them would only wait for a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in its background deaf to Ctrl-C, and processes inherit that: tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives a process whole files or folders."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False

    class ByServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)

    return ByServers(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long ones first, where several processes share the tests."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))
