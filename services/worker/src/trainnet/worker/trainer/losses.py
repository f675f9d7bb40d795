"""The losses of a round, without asking the device for any of them before the end."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainnet.worker.errors import TaskError

_FOLD = 512


class Losses:
    """Each batch's mean loss with its examples. Adding one costs next to nothing, and never waits for the device."""

    def __init__(self) -> None:
        self._waiting: list[Tensor] = []
        self._folded: list[Tensor] = []
        self._examples: list[int] = []

    def add(self, loss: Tensor, examples: int) -> None:
        """Counts a batch."""
        self._waiting.append(loss.detach())
        self._examples.append(examples)
        if len(self._waiting) == _FOLD:
            self._fold()

    def last(self) -> float:
        """Loss of the last batch; waits for the device. Raises TaskError when it is not finite."""
        return finite(float(self._waiting[-1] if self._waiting else self._folded[-1][-1]))

    def mean(self, examples: int) -> float:
        """Mean over the last `examples` of them, in whole batches. Raises TaskError when it is not finite."""
        self._fold()
        batches = 0
        for size in reversed(self._examples):
            if examples <= 0:
                break
            examples -= size
            batches += 1
        losses = torch.cat(self._folded)[-batches:].to("cpu", torch.float64)
        weights = torch.tensor(self._examples[-batches:], dtype=torch.float64)
        return finite(float((losses * weights).sum() / weights.sum()))

    def _fold(self) -> None:
        if self._waiting:
            self._folded.append(torch.stack(self._waiting).float())
            self._waiting.clear()


def finite(loss: float) -> float:
    """The same. Raises TaskError when it is not finite."""
    if not math.isfinite(loss):
        raise diverged()
    return loss


def diverged() -> TaskError:
    """What to say of a training that left the finite numbers."""
    return TaskError("TASK", "training diverged: the loss is not finite; lower learning_rate")
