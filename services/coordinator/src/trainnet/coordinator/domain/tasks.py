"""Who is given a task again, and when it is given up.

The rule, in one place. A *mishap* is an attempt that ended without a result:

- FAILED (the worker said so, or its update was rejected), LOST (its lease ended in mid-training without a word),
  RETURNED (handed back, or dropped without having begun), IGNORED (an assignment that it never accepted).
- What counts is how many *different* workers a task went wrong with, never how often one of them came back for more.
- A worker that failed or lost a task, or returned or ignored it twice, is *spent*: it gets that task again only when
  nobody else who could do it is online or expected, or the task has lain there for SPENT_PAUSE leases all the same
  (`domain/scheduling.py`). Of spent workers, those that failed it come last.
- The crowd has spoken against a task when MAX_FAILED workers failed it, or MAX_LOST lost it; or, where nobody is left
  to try, when everybody there failed it, or it was lost MAX_LOST times by whomever; or after MAX_REPEATS repeats by
  workers that are spent, so that no loop is endless. A worker's third and later return of a task counts like a loss.
- Strangers alone give no task up: their word sends it to the trusted workers, who alone may take it from then on and
  whose word is final. Only where no trusted worker has been seen for a long time (`trusted_patience`) is the
  strangers' word all there is, and the task is QUARANTINED by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_FAILED = 3
MAX_LOST = 6
MAX_REPEATS = 20
FREE_RETURNS = 2
"""Hand-backs without result that a worker may make of one task before it is spent."""
SPENT_PAUSE = 15
"""After so many lease times READY a task goes to spent workers, even if others are there who never have time."""
EXPECTED = 3
"""A worker last seen less than so many lease times ago is expected back."""
_SHOWN = 5
_MESSAGE = 200


class Mishap(StrEnum):
    FAILED = "FAILED"
    LOST = "LOST"
    RETURNED = "RETURNED"
    IGNORED = "IGNORED"


@dataclass(frozen=True)
class Record:
    """What became of a task in the hands of one worker."""

    trusted: bool
    failed: int = 0
    lost: int = 0
    returned: int = 0
    ignored: int = 0
    message: str = ""
    """The last that was said of it."""

    @property
    def losses(self) -> int:
        return self.lost + max(0, self.returned - FREE_RETURNS)

    @property
    def repeats(self) -> int:
        return max(0, self.failed - 1) + max(0, self.losses - 1)

    @property
    def spent(self) -> bool:
        return bool(self.failed or self.lost or self.returned >= FREE_RETURNS or self.ignored >= FREE_RETURNS)


History = Mapping[str, Record]
"""Records by worker."""


@dataclass(frozen=True)
class Crowd:
    """Who could still take a task; online or expected where nothing else is said."""

    fresh: bool
    """Somebody of its pool who is not spent."""
    untried: bool
    """Somebody of its pool who has not failed it."""
    trusted: bool = False
    """A trusted worker who has not failed it, and was seen not too long ago."""


class Step(StrEnum):
    AGAIN = "AGAIN"
    ESCALATE = "ESCALATE"
    QUARANTINE = "QUARANTINE"


@dataclass(frozen=True)
class Verdict:
    step: Step
    reason: str

    @property
    def quarantine(self) -> bool:
        return self.step is Step.QUARANTINE


def noted(history: History, worker: str, *, trusted: bool, mishap: Mishap, message: str) -> dict[str, Record]:
    """The history with one more mishap."""
    before = history.get(worker, Record(trusted))
    name = mishap.lower()
    record = replace(before, **{name: getattr(before, name) + 1}, message=message[:_MESSAGE])
    return {**history, worker: record}


def after_mishap(history: History, worker: str, mishap: Mishap, crowd: Crowd, *, public: bool) -> Verdict:
    """What becomes of a task that just went wrong with this worker, which the history knows of already. `public`:
    strangers may take it; else only the trusted are heard."""
    if mishap is Mishap.IGNORED or (mishap is Mishap.RETURNED and history[worker].returned <= FREE_RETURNS):
        return Verdict(Step.AGAIN, "nothing that counts")
    heard = {worker: record for worker, record in history.items() if public or record.trusted}
    failed = sum(record.failed > 0 for record in heard.values())
    lost = sum(record.losses > 0 for record in heard.values())
    times = sum(record.losses for record in heard.values())
    repeats = sum(record.repeats for record in heard.values())
    spoken = failed >= MAX_FAILED or lost >= MAX_LOST or repeats >= MAX_REPEATS
    spoken = spoken or (failed > 0 and not crowd.untried) or (times >= MAX_LOST and not crowd.fresh)
    reason = told(heard)
    if not spoken:
        return Verdict(Step.AGAIN, reason)
    if not public:
        return Verdict(Step.QUARANTINE, reason)
    if crowd.trusted:
        return Verdict(Step.ESCALATE, f"left to trusted workers: {reason}")
    if any(record.trusted and record.failed for record in heard.values()):
        return Verdict(Step.QUARANTINE, reason)
    return Verdict(Step.QUARANTINE, f"{reason}; no trusted worker is there to try it")


def abandoned(history: History) -> str:
    """Why an escalated task is given up for which no trusted worker came."""
    return f"{told(history)}; no trusted worker came to try it"


@dataclass(frozen=True)
class Shunned:
    """Workers that should not get a task again."""

    spent: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    """Those of them that failed it: the last to be asked."""


NOBODY = Shunned()


def shunned(history: History) -> Shunned:
    return Shunned(
        frozenset(worker for worker, record in history.items() if record.spent),
        frozenset(worker for worker, record in history.items() if record.failed),
    )


def told(history: History) -> str:
    """Who and why, for people: `failed by ada (no memory), bob (NORM: too long); lost by cyd (its lease expired)`."""
    failed = {worker: record for worker, record in history.items() if record.failed}
    lost = {worker: record for worker, record in history.items() if record.losses and worker not in failed}
    parts = [_named("failed by", failed), _named("lost by", lost)]
    return "; ".join(part for part in parts if part) or "handed back again and again"


def _named(verb: str, records: History) -> str:
    if not records:
        return ""
    shown = []
    for worker, record in list(records.items())[:_SHOWN]:
        times = record.failed or record.losses
        often = f", {times} times" if times > 1 else ""
        pool = "" if record.trusted else "stranger "
        shown.append(f"{pool}{worker} ({record.message or 'it did not say why'}{often})")
    more = f" and {len(records) - _SHOWN} more" if len(records) > _SHOWN else ""
    return f"{verb} {', '.join(shown)}{more}"
