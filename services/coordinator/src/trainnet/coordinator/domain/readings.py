"""How an owner wants columns understood: what can be told wrong before the data are looked at again."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

NONE = "-"
"""Says that there is no such column, where nothing would mean to infer it."""


class BadReading(ValueError):
    """A reading that names a column wrongly; `field` is where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check(label: str, split: str, kinds: Iterable[str], known: Collection[str]) -> None:
    """Raises BadReading. `known` are the columns that the data have, empty where nobody looked yet."""
    if label == split and label not in ("", NONE):
        raise BadReading("split_column", f"column {split} cannot be the label and the split at once: name two columns")
    if not known:
        return
    named = [("label_column", label), ("split_column", split), *((f'column_kinds["{name}"]', name) for name in kinds)]
    for field, name in named:
        if name not in known and (field.startswith("column_kinds") or name not in ("", NONE)):
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {_listed(known)}"
            raise BadReading(field, f"there is no column {name}: {hint}")


def _listed(known: Collection[str], most: int = 20) -> str:
    names = list(known)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
