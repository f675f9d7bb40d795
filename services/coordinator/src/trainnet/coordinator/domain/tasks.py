"""When a task is given up."""

from dataclasses import dataclass

MAX_FAILURES = 3
MAX_LOST_LEASES = 6


@dataclass(frozen=True)
class Verdict:
    quarantine: bool
    reason: str


def after_failure(failures: int, eligible_workers: int, message: str) -> Verdict:
    """Explicit failures: the task is given up once as many as could have tried it did, at most three."""
    limit = max(1, min(MAX_FAILURES, eligible_workers))
    return Verdict(failures >= limit, f"failed {failures} of {limit} times, last: {message}")


def after_lost_lease(lost: int) -> Verdict:
    """Leases lost in mid-training: workers that vanish again and again point at the task itself."""
    return Verdict(lost >= MAX_LOST_LEASES, f"{lost} workers were lost while they worked on it")
