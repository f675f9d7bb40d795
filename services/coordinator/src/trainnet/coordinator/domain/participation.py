"""Which shards a round trains, when it is content with less than all of them, and who is late."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from trainnet.coordinator.domain.choices import BadChoice

SHORTEST_PATIENCE = 1.0
"""Seconds that an attempt has at least before its shard goes to a second worker: below that a backup costs more than it
can win."""


@dataclass(frozen=True)
class Participation:
    """What an owner asked for; zeros mean that nothing was."""

    sample: int = 0
    quorum: int = 0
    deadline: float = 0.0
    """Seconds from a round's opening."""
    backup_after: float = 0.0

    def trained(self, shards: int) -> int:
        """Shards that a round trains."""
        return self.sample or shards

    def fewest(self, shards: int) -> int:
        """Updates that suffice for a round."""
        return self.quorum or self.trained(shards)


def check(asked: Participation, shards: int) -> None:
    """Raises BadChoice for what makes no sense."""
    if asked.sample > shards:
        raise BadChoice("sample", f"a round cannot train {asked.sample} of {shards} shards: say at most {shards}")
    trained = asked.trained(shards)
    if asked.quorum > trained:
        raise BadChoice(
            "quorum", f"a quorum of {asked.quorum} is more than the {trained} shards of a round: say at most {trained}"
        )
    if asked.deadline and asked.fewest(shards) == trained:
        raise BadChoice(
            "deadline",
            f"a deadline has no effect while a round needs all its {trained} shards: say a quorum below {trained} too",
        )


def drawn(seed: int, number: int, shards: int, sample: int) -> tuple[int, ...]:
    """Shards of a round, rising: the same for the same seed, whatever the job."""

    def rank(shard: int) -> bytes:
        return hashlib.sha256(f"sample/{seed}/{number}/{shard}".encode()).digest()

    return tuple(sorted(sorted(range(shards), key=rank)[:sample]))


def patience(backup_after: float, durations: Sequence[float]) -> float:
    """Seconds that an attempt may take before its shard goes to a second worker; `durations` are those of the round's
    accepted ones."""
    return max(SHORTEST_PATIENCE, backup_after * median(durations))
