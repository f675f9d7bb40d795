"""Curves in the terminal, drawn with braille dots: two across and four down in each character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from trainnet.cli import _metrics

if TYPE_CHECKING:
    from trainnet.client import Job, Round

Points = Sequence[tuple[float, float]]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_STYLES = ("green", "cyan")
_AXIS = 9
"""Columns for the figures at the left."""


@dataclass(frozen=True)
class Series:
    """A curve: its name and its points from left to right."""

    name: str
    points: Points


def job_plots(job: Job, *, width: int, height: int = 10) -> list[Text]:
    """The leading figure and the loss by round; empty before there is something to draw."""
    lead = _metrics.leading(job)
    start = [(0.0, job.initial_metrics)] if job.initial_metrics else []
    told = [*start, *((float(item.number), item.metrics) for item in job.rounds)]

    def series(name: str) -> Series:
        points = [(at, metrics[name]) for at, metrics in told if name in metrics and math.isfinite(metrics[name])]
        return Series("held-out rows", points)

    training = Series("training", [(float(item.number), loss) for item in job.rounds if (loss := train_loss(item))])
    charts = [(_metrics.shown(lead), [series(lead)]), ("loss", [series("loss"), training])]
    drawn = []
    for title, curves in charts:
        visible = [curve for curve in curves if curve.points]
        if visible:
            drawn.append(plot(f"{title} by round", visible, width=width, height=height))
    return drawn


def train_loss(item: Round) -> float | None:
    """Mean training loss of a round's updates, weighted by their examples."""
    told = [(entry.metrics["loss"], entry.examples) for entry in item.manifest if "loss" in entry.metrics]
    told = [(loss, max(examples, 1)) for loss, examples in told if math.isfinite(loss)]
    return sum(loss * examples for loss, examples in told) / sum(share for _, share in told) if told else None


def plot(title: str, curves: Sequence[Series], *, width: int, height: int) -> Text:
    """A chart of `width` by `height` characters, with its title, axes and legend around it."""
    columns = max(10, width - _AXIS - 2)
    left = min(at for curve in curves for at, _ in curve.points)
    right = max(at for curve in curves for at, _ in curve.points)
    low = min(value for curve in curves for _, value in curve.points)
    high = max(value for curve in curves for _, value in curve.points)
    if low == high:
        low, high = low - max(abs(low) * 0.1, 1e-6), high + max(abs(high) * 0.1, 1e-6)
    cells = [[(_BLANK, 0)] * columns for _ in range(height)]
    for index, curve in enumerate(curves):
        _draw(cells, curve.points, index, (left, right), (low, high))
    text = Text(f"{title}", style="bold")
    if len(curves) > 1:
        for index, curve in enumerate(curves):
            text.append("   ● ", style=f"not bold {_STYLES[index % len(_STYLES)]}")
            text.append(curve.name, style="not bold")
    for row, line in enumerate(cells):
        at = row / (height - 1) if height > 1 else 0.0
        figure = f"{high - at * (high - low):.4g}" if row in (0, height // 2, height - 1) else ""
        text.append(f"\n{figure:>{_AXIS}} ┤", style="not bold")
        for cell, index in line:
            text.append(chr(cell), style=f"not bold {_STYLES[index % len(_STYLES)]}")
    first, last = f"{left:g}", f"{right:g}"
    rule = "─" * columns
    gap = " " * max(1, columns - len(first) - len(last))
    below = f"{first}{gap}{last}" if right > left else first
    text.append(f"\n{'':>{_AXIS}} └{rule}\n{'':>{_AXIS}}  {below}", style="not bold")
    return text


def _draw(
    cells: list[list[tuple[int, int]]],
    points: Points,
    index: int,
    across: tuple[float, float],
    up: tuple[float, float],
) -> None:
    height, width = len(cells) * 4, len(cells[0]) * 2
    span = across[1] - across[0]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = (point[0] - across[0]) / span if span else 0.0
        return x * (width - 1), (1 - (point[1] - up[0]) / (up[1] - up[0])) * (height - 1)

    places = [place(point) for point in points]
    for (x0, y0), (x1, y1) in zip(places, places[1:] or places, strict=False):
        steps = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0))))
        for step in range(steps + 1):
            x, y = round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)
            before, _ = cells[y // 4][x // 2]
            cells[y // 4][x // 2] = before | _DOTS[y % 4][x % 2], index
