"""`python -m trainnet.worker`: the agent, configured by `TRAINNET_*`."""

from __future__ import annotations

import sys

from trainnet.runtime.lifecycle import EXIT_SETTINGS
from trainnet.runtime.settings import SettingsError
from trainnet.worker.app import run
from trainnet.worker.settings import WorkerSettings


def main() -> int:
    """Exit code of the agent."""
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        for line in error.problems:
            print(f"worker: {line}", file=sys.stderr)
        return EXIT_SETTINGS
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
