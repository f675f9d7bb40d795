"""Which figure tells how good a model is, whatever it learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from trainnet.cli._output import number

if TYPE_CHECKING:
    from trainnet.client import Job

ACCURACY, PERPLEXITY, WORD_ERROR_RATE = "accuracy", "perplexity", "word_error_rate"

_LEADING = (ACCURACY, PERPLEXITY, WORD_ERROR_RATE)
"""One of them leads: classification, language modelling and transcription have one each."""


def leading(job: Job) -> str:
    """Name of the figure that tells how good a job's model is, also before it is known."""
    measured = [job.metrics, job.initial_metrics, *(item.metrics for item in job.rounds)]
    for name in _LEADING:
        if any(name in metrics for metrics in measured):
            return name
    schema = job.schema
    if schema is None or schema.classes:
        return ACCURACY
    return WORD_ERROR_RATE if schema.label_is_text else PERPLEXITY


def shown(name: str) -> str:
    """The figure's name for people."""
    return name.replace("_", " ")


def best(name: str, values: Iterable[float]) -> float | None:
    """The best of the values, or None."""
    numbers = [value for value in values if value == value]
    if not numbers:
        return None
    return max(numbers) if name == ACCURACY else min(numbers)


def merit(name: str, metrics: Mapping[str, float]) -> tuple[float, float]:
    """Higher is better; of equal leading figures the one with the lower loss."""
    value = metrics.get(name, float("nan"))
    merit = (value if name == ACCURACY else -value) if value == value else float("-inf")
    loss = metrics.get("loss", float("inf"))
    return merit, -loss if loss == loss else float("-inf")


def headline(metrics: Mapping[str, float]) -> str:
    """`accuracy 0.93`, `perplexity 12.4`: the leading figure among the metrics, or nothing."""
    return next((f"{shown(name)} {number(metrics[name])}" for name in _LEADING if name in metrics), "")
