"""Words: those of strangers made fit to be shown and kept, and names that were mistyped."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

MAX_METRICS = 32
MAX_METRIC_NAME = 63


def printable(text: str) -> str:
    """One line without control characters: an escape sequence must not reach an owner's terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def plain_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The finite ones with short, printable names, the first by name of what is too many: owners read them as JSON,
    which has no words for NaN and infinity, and every manifest carries them."""
    kept = (
        (name, value)
        for name, value in sorted(metrics.items())
        if math.isfinite(value) and len(name) <= MAX_METRIC_NAME and name.isprintable()
    )
    return {name: value for (name, value), _ in zip(kept, range(MAX_METRICS), strict=False)}


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Names that somebody who typed this one may have meant, the likeliest first, at most three."""
    return get_close_matches(name, list(known), 3, cutoff=0.75)
