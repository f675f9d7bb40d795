"""When a round closes, and how its shards are grouped for the merge."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

ONE_GROUP_BYTES = 2 << 30
"""Up to this many bytes of updates a round is one group: a second pass over partial sums would cost more."""
_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an open round stands."""

    shards: int
    """That it trains."""
    accepted: int
    given_up: int = 0
    quorum: int = 0
    """Accepted ones that suffice where there is a reason not to wait for all; 0 means all."""
    buffer: int = 0
    """Accepted ones that close it at once, whatever else goes on; 0 means that there is no such number."""
    overdue: bool = False
    """Its deadline is over."""


@dataclass(frozen=True)
class Close:
    """What becomes of an open round. Neither flag set: it goes on."""

    close: bool = False
    fail: bool = False
    reason: str = ""


def decide_close(standing: Standing) -> Close:
    """It waits for every shard that nobody gave up, until its deadline; from then on, and where all others were
    given up, its quorum suffices. With a buffer it closes as soon as that is full. It fails once that many are out of
    reach."""
    shards, accepted, given_up = standing.shards, standing.accepted, standing.given_up
    quorum = standing.buffer or standing.quorum or shards
    if shards - given_up < quorum:
        needed = "" if quorum == shards else f", and the {'buffer' if standing.buffer else 'quorum'} is {quorum}"
        return Close(fail=True, reason=f"{given_up} of {shards} shards given up{needed}")
    if accepted == shards:
        return Close(close=True, reason=f"all {shards} shards accepted")
    if standing.buffer and accepted >= standing.buffer:
        return Close(close=True, reason=f"{accepted} of {shards} shards accepted, the buffer is {quorum}")
    if accepted + given_up == shards:
        return Close(close=True, reason=f"{accepted} of {shards} shards accepted, the quorum is {quorum}")
    if standing.overdue and accepted >= quorum:
        reason = f"{accepted} of {shards} shards accepted at the deadline, the quorum is {quorum}"
        return Close(close=True, reason=reason)
    return Close()


def explained(decision: Close, late: Sequence[int], given_up: Sequence[str], stale: Sequence[str] = ()) -> str:
    """The reason of a decision with what is to be known of its shards: which updates are `stale`, which came too `late`
    to count, and why each other one was given up."""
    why = "; ".join(dict.fromkeys(given_up)) or "no reason was given"
    if decision.fail:
        return f"{decision.reason}: {why}"
    parts = [decision.reason, *stale]
    if late:
        parts.append(f"{listed('shard', late)} late")
    if given_up:
        parts.append(f"given up: {why}")
    return "; ".join(parts)


def listed(what: str, numbers: Sequence[int]) -> str:
    """`shard 3`, `shards 3, 5`, `shards 0, 1, … and 12 more`."""
    shown = ", ".join(map(str, numbers[:_LISTED]))
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"{what}{'' if len(numbers) == 1 else 's'} {shown}{more}"


def group_size(shards: int, update_bytes: int, *, of: int | None = None) -> int:
    """Consecutive shards per group: all of them while they are small together, else about the square root of those that
    the round trains. `of`: how many there are, where it does not train all of them."""
    there = shards if of is None else of
    if shards * update_bytes <= ONE_GROUP_BYTES:
        return there
    return -(-(math.isqrt(shards - 1) + 1) * there // shards)
