"""What is learnt: losses, and the sums that metrics are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainnet.v1.dataset_pb2 import LabelClass
from trainnet.v1.task_pb2 import Confusion
from trainnet.worker.trainer.inputs.encoding import Batch

MAX_CONFUSION = 100
"""Classes of a confusion matrix, at most."""


def logits_of(module: nn.Module, batch: Batch) -> Tensor:
    """What a module answers to a batch without its labels, in fp32."""
    inputs = {name: values for name, values in batch.items() if name not in {"label", "labels"}}
    answer = module(**inputs)
    logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
    return logits.float()


def summed(losses: Tensor) -> Tensor:
    """Their sum in fp64: on the device, or on the processor where the device knows no such numbers."""
    return (losses.cpu() if losses.device.type == "mps" else losses).double().sum()


class Classification:
    """The class of a row. Batches carry `label` (rows,) beside what the module takes."""

    def __init__(self, classes: Sequence[LabelClass]) -> None:
        # The most frequent ones, in their own order, so that the matrix reads like the data set's profile.
        frequent = sorted(range(len(classes)), key=lambda index: (-classes[index].rows, index))[:MAX_CONFUSION]
        self._shown = sorted(frequent)
        self._names = [classes[index].name for index in self._shown]
        # Class -> its place in the matrix; what is not shown shares the place behind the last.
        self._place = torch.full((len(classes),), len(self._shown), dtype=torch.int64)
        self._place[self._shown] = torch.arange(len(self._shown))

    def loss(self, module: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
        """Cross entropy, its mean over the rows."""
        return nn.functional.cross_entropy(logits_of(module, batch), batch["label"], label_smoothing=smoothing)

    def tally(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `right`, `rows`, and `confusion` with a last row and column for classes that are not shown."""
        logits, label = logits_of(module, batch), batch["label"]
        predicted = logits.argmax(1)
        place, width = self._place.to(label.device), len(self._shown) + 1
        cells = torch.bincount(place[label] * width + place[predicted], minlength=width * width)
        return {
            "loss": summed(nn.functional.cross_entropy(logits, label, reduction="none")),
            "right": (predicted == label).sum(),
            "rows": torch.tensor(len(label), device=label.device),
            "confusion": cells,
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """`accuracy` and `loss`."""
        rows = int(sums["rows"])
        return {"accuracy": int(sums["right"]) / rows, "loss": float(sums["loss"]) / rows}

    def confusion(self, sums: Mapping[str, Tensor]) -> Confusion | None:
        """Of the shown classes."""
        width = len(self._shown) + 1
        shown = sums["confusion"].view(width, width)[:-1, :-1]
        return Confusion(classes=self._names, counts=shown.flatten().tolist())


class LanguageModelling:
    """The next token. Batches carry `labels` (rows, tokens): each position's own token, negative where none counts."""

    def loss(self, module: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
        """Cross entropy of the next token, its mean over the tokens that count."""
        logits, labels = self._shifted(module, batch)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def tally(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`loss` and `tokens`."""
        logits, labels = self._shifted(module, batch)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        return {"loss": summed(losses), "tokens": (labels >= 0).sum()}

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """`loss` per token and `perplexity`, its exponential."""
        loss = float(sums["loss"]) / max(1, int(sums["tokens"]))
        return {"loss": loss, "perplexity": perplexity(loss)}

    def confusion(self, sums: Mapping[str, Tensor]) -> Confusion | None:  # the interface's
        """None: there are no classes."""
        return None

    @staticmethod
    def _shifted(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = logits_of(module, batch)[:, :-1]
        return logits.flatten(0, 1), batch["labels"][:, 1:].flatten()


def perplexity(loss: float) -> float:
    """exp(loss), finite for every finite loss."""
    return math.exp(min(loss, 700.0)) if math.isfinite(loss) else loss
