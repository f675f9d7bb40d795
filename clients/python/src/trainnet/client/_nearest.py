"""What to say about a word that is none of those there are."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_MOST = 20
"""So many names can be told to somebody who typed one that is unlike all of them."""


def nearest(name: str, names: Sequence[str], label: str) -> str:
    """`did you mean …?` where there is something near, else the names there are."""
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    rest = len(names) - _MOST
    return f"{label}: {', '.join(names[:_MOST]) or 'none'}" + (f" and {rest} more" if rest > 0 else "")
