"""What the person at the terminal sees: a line for each phase as it ends, with its time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text


@dataclass
class Phase:
    """What a phase tells at its end."""

    said: str = ""
    details: list[str] = field(default_factory=list)


class Show:
    """Prints the demo. On a terminal phases spin while they last; elsewhere there are plain lines."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def banner(self, workers: int, rounds: int) -> None:
        text = Text.assemble(
            ("TrainNet", "bold cyan"),
            (" demo\n", "bold"),
            "A data set of real images, a coordinator, an object store, ",
            (f"{workers} worker{'s' * (workers > 1)}", "bold"),
            " and one model, all on this machine.\n",
            (f"{rounds} round{'s' * (rounds > 1)}: each worker trains its own shard, the updates are merged.", "dim"),
        )
        self.console.print(Panel(text, border_style="cyan", expand=False, padding=(0, 2)))

    @contextmanager
    def phase(self, name: str, doing: str) -> Iterator[Phase]:
        """Spins with `doing`, then prints a line with what the phase said and how long it took."""
        phase, began = Phase(), time.monotonic()
        with self.console.status(f"[dim]{name:<9}[/dim] {doing}", spinner="dots", spinner_style="cyan"):
            yield phase
        self.done(name, phase.said, time.monotonic() - began)
        for line in phase.details:
            self.console.print(Text(f"            {line}", style="dim"), soft_wrap=True)

    def done(self, name: str, said: str, seconds: float) -> None:
        line = Text.assemble(("✓ ", "bold green"), (f"{name:<9} ", "bold"), said, (f"  {seconds:.1f} s", "dim"))
        self.console.print(line, soft_wrap=True)

    @contextmanager
    def bar(self, name: str, doing: str) -> Iterator[Progress]:
        """A bar that is gone when it is full."""
        columns = (
            TextColumn(f"[dim]{name:<9}[/dim] {doing}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            yield bar

    def say(self, line: str = "", style: str = "") -> None:
        self.console.print(Text(line, style=style), soft_wrap=True)

    def comparison(self, rows: list[tuple[str, float, int, float]]) -> None:
        """(who, accuracy, steps, seconds) of each."""
        table = Table(box=None, pad_edge=False, padding=(0, 3), header_style="dim")
        table.add_column("")
        for name in ("accuracy", "SGD steps", "training"):
            table.add_column(name, justify="right")
        best = max(accuracy for _, accuracy, _, _ in rows)
        for who, accuracy, steps, seconds in rows:
            style = "bold green" if accuracy == best else "bold"
            table.add_row(f"  {who}", Text(f"{accuracy:.4f}", style=style), f"{steps:,}", f"{seconds:.1f} s")
        self.console.print()
        self.console.print(table)
