"""The interface between architectures and the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from trainnet.v1.task_pb2 import Confusion
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.encoding import Batch, Encoding


class Objective(Protocol):
    """What is learnt: the loss to go down, and the sums that an evaluation's metrics are made of."""

    def loss(self, module: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
        """Mean loss of a batch (over its examples; over its tokens for texts), to be differentiated."""

    def tally(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Sums over a batch, in fp64 or int64; added up over a holdout and handed to `metrics`."""

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """`accuracy`, `loss`, `perplexity`, `word_error_rate`, as the objective has them."""

    def confusion(self, sums: Mapping[str, Tensor]) -> Confusion | None:
        """For classification: which class was taken for which."""


class Model:
    """A module with its data and its goal, as the catalogue builds it.

    `weights` is what travels: the whole state in its own order, or an adapter's. Counters that only say how many
    batches a layer has seen (`num_batches_tracked`) stay at home: nothing computes with them where a momentum is set.
    A tensor that stands in two places (an embedding that is the output layer too) travels once, under its first name.
    """

    def __init__(self, module: nn.Module, encoding: Encoding, objective: Objective) -> None:
        self.module, self.encoding, self.objective = module, encoding, objective

    def weights(self) -> dict[str, Tensor]:
        """The tensors that rounds change, in the order of their file. They share memory with the module."""
        seen: set[int] = set()
        found = {}
        for name, tensor in self.module.state_dict(keep_vars=True).items():
            if not name.endswith("num_batches_tracked") and id(tensor) not in seen:
                seen.add(id(tensor))
                found[name] = tensor.detach()
        return found

    def buffers(self) -> list[str]:
        """Those of `weights` that no gradient moves, such as running means: of their updates the plain mean is taken,
        whatever the server's optimiser does with the others."""
        learnt = {name for name, _ in self.module.named_parameters(remove_duplicate=False)}
        return [name for name in self.weights() if name not in learnt]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Puts weights in; they must be exactly the model's. Raises TaskError naming the first tensor that differs."""
        own = self.weights()
        expected = {name: tuple(tensor.shape) for name, tensor in own.items()}
        given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        if expected != given:
            # In the model's own order: the first one that differs says most about what is wrong.
            differing = (name for name in [*expected, *given] if expected.get(name) != given.get(name))
            name = next(differing)
            raise TaskError(
                "TASK",
                f"the weights are not this model's: tensor {name} is {given.get(name, 'missing')}, "
                f"the model has {expected.get(name, 'no such tensor')}",
            )
        for name, tensor in weights.items():
            own[name].copy_(tensor)
