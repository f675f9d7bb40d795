"""The card's pictures. The same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainnet.v1.task_pb2 import Confusion, ExportSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = list[tuple[int, float]]
_NAMED_CLASSES = 25
"""More names than this could not be read."""


def draw(spec: ExportSpec) -> Mapping[str, bytes]:
    """`loss.png`, one for each metric that the rounds have, and `confusion.png`."""
    trained = [(record.number, record.train_loss) for record in spec.rounds if record.number and record.train_loss]
    curves: dict[str, dict[str, Points]] = {"loss": {"training": trained, "holdout": _metric(spec, "loss")}}
    for name in ("accuracy", "perplexity", "word_error_rate"):
        curves[name] = {"holdout": _metric(spec, name)}
    found = {f"{name}.png": _curve(name, lines) for name, lines in curves.items() if any(lines.values())}
    if spec.HasField("confusion") and spec.confusion.classes:
        found["confusion.png"] = _matrix(spec.confusion)
    return found


def _metric(spec: ExportSpec, name: str) -> Points:
    return [(record.number, record.metrics[name]) for record in spec.rounds if name in record.metrics]


def _curve(name: str, lines: Mapping[str, Points]) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for label, points in lines.items():
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if len(points) <= 50 else "", markersize=4, label=label)
    axes.set_xlabel("round")
    axes.set_ylabel(name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if sum(bool(points) for points in lines.values()) > 1:
        axes.legend(frameon=False)
    return _png(figure)


def _matrix(confusion: Confusion) -> bytes:
    import numpy as np
    from matplotlib.figure import Figure

    names, size = list(confusion.classes), len(confusion.classes)
    counts = np.array(confusion.counts, dtype=np.float64).reshape(size, size)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(9.0, 3.0 + 0.3 * size)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if size <= _NAMED_CLASSES:
        # A dollar sign would begin a formula.
        short = [(name if len(name) <= 16 else name[:15] + "…").replace("$", r"\$") for name in names]
        axes.set_xticks(range(size), short, rotation=45, ha="right")
        axes.set_yticks(range(size), short)
    if size <= 12:
        for row, column in np.ndindex(size, size):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", color=ink, fontsize=8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the version of who drew it.
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
