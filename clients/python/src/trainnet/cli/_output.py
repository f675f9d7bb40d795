"""How results look: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Scripts need it.")]


def print_json(value: Mapping[str, Any]) -> None:
    """The one object of a command's `--json`."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str, drop_empty: bool = False) -> None:
    """A table, or one line where there is nothing.

    A column whose name begins with `>` is set to the right; a last one without a name is for remarks, which stand below
    the table where the terminal is too narrow for them. `drop_empty` leaves columns out that hold nothing.
    """
    from rich.console import Console
    from rich.text import Text

    lines = [tuple(row) for row in rows]
    if drop_empty:
        kept = [index for index in range(len(columns)) if any(line[index] for line in lines)]
        columns, lines = [columns[index] for index in kept], [tuple(line[index] for index in kept) for line in lines]
    console = Console(highlight=False)
    if not lines:
        console.print(empty, markup=False)
        return
    table = _table(columns, lines)
    if not console.is_terminal:  # a pipe has no width: do not fold what a program may read
        console.width = 10_000
    elif (
        not columns[-1] and console.measure(table, options=console.options.update(width=10_000)).maximum > console.width
    ):
        console.print(_table(columns[:-1], [line[:-1] for line in lines]))
        for line in lines:
            if line[-1]:
                console.print(Text(f"{line[0]}: {line[-1]}"))
        return
    console.print(table, soft_wrap=not console.is_terminal)


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        right = name.startswith(">")
        # The first column names the thing, and is there to be copied: the others fold before it.
        # Where they fold they keep words whole.
        word = max((len(word) for line in lines for word in line[index].split()), default=0)
        table.add_column(
            name.removeprefix(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=index == 0,
            min_width=min(word, 10),
        )
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line; empty values are left out. A terminal gets long ones folded between words."""
    shown = {name: value for name, value in facts.items() if value}
    indent = max((len(name) for name in shown), default=0) + 2
    room = max(20, width() - indent) if sys.stdout.isatty() else 0
    for name, value in shown.items():
        lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False) if room else [value]
        print(f"{name:<{indent}}" + f"\n{'':<{indent}}".join(lines))


def stamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, for programs."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def ago(moment: datetime | None) -> str:
    """How long ago, for people."""
    if moment is None:
        return ""
    number, unit, *_ = span(round(max(0.0, (datetime.now(UTC) - moment).total_seconds()))).split()
    return f"{float(number):.0f} {unit} ago"


def span(seconds: float | None) -> str:
    """A duration for people: `0.42 s`, `38 s`, `4 min 10 s`, `3 h 5 min`, `2 d 4 h`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    for name, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """A length in bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def number(value: float | None, digits: int = 4) -> str:
    """A metric for people."""
    return "" if value is None else f"{value:.{digits}g}"


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal unless told not to; elsewhere `--yes` must be there. Raises ConfigurationError, typer.Exit."""
    from trainnet.client import ConfigurationError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody can be asked here: {question}", hint="add --yes to say so")
    if not typer.confirm(question, err=True):
        print("nothing was done", file=sys.stderr)
        raise typer.Exit(1)


def count(number: int, what: str, many: str = "") -> str:
    """`1 epoch`, `2 epochs`; `many` where an s does not do."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {many or f'{what}s'}"


def short_count(number: int) -> str:
    """A large number for people: `66.4M`."""
    value = float(number)
    for unit in ("", "k", "M"):
        if value < 1000:
            return f"{value:.0f}" if not unit else f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G"


def width() -> int:
    """Columns to write in; a pipe has as many as a usual terminal."""
    return shutil.get_terminal_size().columns
