"""What predictions are, and how a batch of logits becomes some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from torch import Tensor

_Item = TypeVar("_Item")
BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """Classes with their probabilities, likeliest first; or the text that was made."""

    name: str
    classes: tuple[tuple[str, float], ...] = ()
    text: str = ""


class Predictor(Protocol):
    """A model that is loaded."""

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """One prediction for each row, image, text or sound of an input. Raises PredictError and TaskError."""


def classified(names: Iterable[str], logits: Tensor, classes: Sequence[str]) -> Iterator[Prediction]:
    """(rows, classes) to predictions."""
    for name, row in zip(names, logits.float().softmax(1), strict=True):
        order = row.argsort(descending=True, stable=True).tolist()
        yield Prediction(name, tuple((classes[index], float(row[index])) for index in order))


def in_batches(items: Iterable[_Item], size: int = BATCH) -> Iterator[list[_Item]]:
    """Lists of up to `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
