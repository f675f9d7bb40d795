"""Options that name some of many: `--rules mean,krum`."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from trainnet.local.errors import LocalError

Value = TypeVar("Value", int, float)


def names(option: str, given: str, known: Collection[str]) -> list[str]:
    """Those that were named; all where none was. Raises LocalError for one that is not there."""
    found = _parts(given) or list(known)
    for name in found:
        if name not in known:
            raise LocalError(f"{option}: {name!r} is none of {', '.join(known)}")
    return found


def numbers(option: str, given: str, kind: type[Value], known: Sequence[Value]) -> list[Value]:
    """Those that were named; `known` where none was. Raises LocalError for what is no number."""
    try:
        return [kind(part) for part in _parts(given)] or list(known)
    except ValueError:
        raise LocalError(f"{option}: {given!r} is no list of numbers, such as {known[0]}") from None


def settings(option: str, given: Sequence[str], known: Collection[str]) -> Mapping[str, float]:
    """NAME=VALUE, each with a number. Raises LocalError."""
    found: dict[str, float] = {}
    for item in given:
        name, _, value = item.partition("=")
        if name not in known:
            raise LocalError(f"{option}: {name!r} is none of {', '.join(known)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise LocalError(f"{option}: {name} is {value!r}, which is no number") from None
    return found


def _parts(given: str) -> list[str]:
    return [part.strip() for part in given.split(",") if part.strip()]
