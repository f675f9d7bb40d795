"""What became of the tasks that were this worker's: never accepted again, and known when their verdicts come."""

from __future__ import annotations

import time
from collections import OrderedDict

from trainnet.worker.agent.storage import AgentFolder, Contribution

_REMEMBERED = 4096
_SAVE_EVERY = 5.0

NO_UPDATE = 0
"""Examples of a task that hands in no update."""

UNKNOWN_EXAMPLES = -1
"""Examples of an update without rows (`noop`): it counts all the same."""


class Record:
    """Finished fences, and what the coordinator accepted so far."""

    def __init__(self, folder: AgentFolder) -> None:
        self._folder = folder
        self._finished: OrderedDict[int, int] = OrderedDict()
        self._saved = time.monotonic()
        self.contribution: Contribution = folder.contribution()

    def __contains__(self, fence: object) -> bool:
        return fence in self._finished

    def finished(self, fence: int, examples: int = NO_UPDATE) -> None:
        """A fence is over."""
        self._finished[fence] = examples
        while len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)

    def accepted(self, fence: int) -> None:
        """An update passed its check; a repeated verdict counts once."""
        examples = self._finished.get(fence, NO_UPDATE)
        if examples == NO_UPDATE:
            return
        self._finished[fence] = NO_UPDATE
        self.contribution.updates += 1
        self.contribution.examples += max(examples, 0)
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Keeps the contribution for the next start."""
        self._saved = time.monotonic()
        self._folder.save_contribution(self.contribution)
