"""When a round closes, and how its shards are grouped for the merge."""

import math
from dataclasses import dataclass

ONE_GROUP_BYTES = 2 << 30
"""Up to this many bytes of updates a round is one group: a second pass over partial sums would cost more."""


@dataclass(frozen=True)
class Close:
    """What becomes of an open round. Neither flag set: it goes on."""

    close: bool = False
    fail: bool = False
    reason: str = ""


def decide_close(shards: int, accepted: int, quarantined: int, reasons: list[str]) -> Close:
    """Every shard must be accepted; one that was given up fails the round, since its rows would be missing."""
    if quarantined:
        why = "; ".join(dict.fromkeys(reasons)) or "no reason was given"
        return Close(fail=True, reason=f"{quarantined} of {shards} shards given up: {why}")
    if accepted < shards:
        return Close()
    return Close(close=True, reason=f"all {shards} shards accepted")


def group_size(shards: int, update_bytes: int) -> int:
    """Consecutive shards per group: all of them while they are small together, else about the square root."""
    if shards * update_bytes <= ONE_GROUP_BYTES:
        return shards
    return math.isqrt(shards - 1) + 1
