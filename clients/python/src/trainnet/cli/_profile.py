"""A data set's profile as a person enjoys reading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from trainnet.cli._output import count, number, print_table, size, width
from trainnet.client import ColumnProfile, Profile

if TYPE_CHECKING:
    from trainnet.client import Schema

_CLASSES = 20
_COLUMNS = 40
_BAR = 32
_EIGHTHS = " ▏▎▍▌▋▊▉"
_COUNTED = 1000
"""Different values are counted up to here."""


def print_profile(profile: Profile) -> None:
    """Columns, classes as bars, samples."""
    _columns(profile.columns)
    if profile.classes:
        print()
        print_classes(profile.classes, profile.label)
    if profile.samples:
        print()
        _samples(profile)


def describe_rows(rows: int, profile: Profile | None) -> str:
    """`120, 31 of them like an earlier one`."""
    if profile is None or not profile.duplicate_rows:
        return f"{rows:,}"
    compared = "them" if profile.compared_rows == rows else f"the {profile.compared_rows:,} compared"
    return f"{rows:,}, {profile.duplicate_rows:,} of {compared} like an earlier one"


def print_classes(classes: Mapping[str, int], label: str) -> None:
    """Rows of each class as bars, in the order of the model's outputs."""
    shown = list(classes.items())[:_CLASSES]
    names = max(min(len(name), 24) for name, _ in shown)
    counts = max(len(f"{rows:,}") for _, rows in shown)
    most, total = max(1, *classes.values()), max(1, sum(classes.values()))
    room = max(4, min(_BAR, width() - names - counts - 12))
    print(f"{label}: {count(len(classes), 'class', 'classes')}")
    for name, rows in shown:
        share = f"{rows / total:>4.0%}  {bar(rows / most, room)}".rstrip()
        print(f"  {_cut(name, names):<{names}}  {rows:>{counts},}  {share}")
    if len(classes) > _CLASSES:
        print(f"  and {len(classes) - _CLASSES:,} more")


def bar(share: float, room: int) -> str:
    """A bar for a share of `room` columns, exact to an eighth of one; something is never nothing."""
    eighths = max(round(share * room * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def describe_image(schema: Schema) -> str:
    """`28 x 28 pixels, 1 channel`, or nothing."""
    if schema.image is None:
        return ""
    height, across, channels = schema.image
    return f"{height} x {across} pixels, {count(channels, 'channel')}"


def _columns(columns: Iterable[ColumnProfile]) -> None:
    every = tuple(columns)
    shown = every[:_COLUMNS]
    print_table(
        ["column", "kind", ">missing", ">distinct", "values"],
        (
            (
                column.name,
                column.kind,
                f"{column.missing:,}" if column.missing else "-",
                _distinct(column.distinct),
                _values(column),
            )
            for column in shown
        ),
        empty="no columns",
        drop_empty=True,
    )
    if len(every) > len(shown):
        print(f"and {len(every) - len(shown):,} more columns")


def _distinct(found: int) -> str:
    return "" if not found else f"{found:,}" + ("+" if found >= _COUNTED else "")


def _figure(value: float | None) -> str:
    """Four digits, and no exponent where it can be read without one."""
    if value is not None and 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return number(value)


def _values(column: ColumnProfile) -> str:
    """The span of numbers, the lengths of everything else."""
    if column.minimum is not None and column.maximum is not None:
        spread = f" ± {_figure(column.deviation)}" if column.deviation else ""
        mean = f", mean {_figure(column.mean)}{spread}" if column.mean is not None else ""
        return f"{_figure(column.minimum)} to {_figure(column.maximum)}{mean}"
    mean_length, most = column.mean_length, column.max_length
    if mean_length is None or most is None or column.kind == "label":
        return ""
    if column.kind == "image":
        return f"{size(round(mean_length))}, at most {size(round(most))}"
    unit = "s" if column.kind == "audio" else "characters"
    return f"{number(mean_length, 3)} {unit}, at most {number(most)}"


def _samples(profile: Profile) -> None:
    names = [column.name for column in profile.columns][: max(1, width() // 10)]
    rows = [[" ".join(sample.get(name, "").split()) for name in names] for sample in profile.samples]
    needed = [max(len(name), *(len(row[index]) for row in rows)) for index, name in enumerate(names)]
    rooms = share_room(needed, width() - 2 * (len(names) - 1))
    hidden = len(profile.columns) - len(names)
    print("first rows" + (f", without {count(hidden, 'column')}" if hidden else ""))
    print_table(names, ([_cut(text, room) for text, room in zip(row, rooms, strict=True)] for row in rows), empty="")


def share_room(needed: list[int], room: int) -> list[int]:
    """How much of the room each column gets: the narrow ones what they need, the wide ones the same."""
    given = list(needed)
    left, waiting = room, sorted(range(len(needed)), key=lambda index: needed[index])
    for position, index in enumerate(waiting):
        given[index] = min(needed[index], max(4, left // (len(waiting) - position)))
        left -= given[index]
    return given


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
