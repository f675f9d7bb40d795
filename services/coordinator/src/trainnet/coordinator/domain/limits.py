"""How often somebody may do something: token buckets, one for each name."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    per_second: float
    """How many in the long run."""
    burst: float
    """How many at once, after a quiet time."""


class Bucket:
    """Full at first; `take` empties it by one and says whether there was one."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens, self._filled = rate.burst, now

    def take(self, now: float) -> bool:
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def full(self, now: float) -> bool:
        """Whether nobody could tell it from a new one."""
        self._fill(now)
        return self._tokens >= self._rate.burst

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._filled) * self._rate.per_second
        self._tokens, self._filled = min(self._rate.burst, self._tokens + gained), max(now, self._filled)


class Buckets:
    """A bucket for each of at most `most` names; the one asked least recently makes room for a new one."""

    def __init__(self, rate: Rate, most: int = 100_000) -> None:
        self._rate, self._most = rate, most
        self._by_name: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_name)

    def take(self, name: str, now: float) -> bool:
        bucket = self._by_name.pop(name, None) or Bucket(self._rate, now)
        self._by_name[name] = bucket
        taken = bucket.take(now)
        while self._by_name:
            oldest = next(iter(self._by_name))
            if len(self._by_name) <= self._most and (oldest == name or not self._by_name[oldest].full(now)):
                break
            del self._by_name[oldest]
        return taken
