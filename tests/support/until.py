"""Polling with a deadline: the only way in which these tests wait."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 90.0
"""Seconds: far more than anything takes, since machines that run tests are busy."""


def until(look: Callable[[], T | None], what: str, *, within: float = PATIENCE, every: float = 0.01) -> T:
    """The first true answer of `look`. After `within` seconds the failure says what was seen last."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= end:
            raise AssertionError(f"not within {within:g} s: {what}; seen last: {seen!r}")
        time.sleep(every)


def until_equal(
    look: Callable[[], object], wanted: object, what: str, *, within: float = PATIENCE, every: float = 0.05
) -> None:
    """Returns once `look` answers `wanted`."""
    end = time.monotonic() + within
    while (seen := look()) != wanted:
        if time.monotonic() >= end:
            raise AssertionError(f"not within {within:g} s: {what} is {wanted!r}; seen last: {seen!r}")
        time.sleep(every)
