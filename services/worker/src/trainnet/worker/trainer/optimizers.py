"""What a step does to the weights beside the gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Sequence[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that the hyperparameters ask for, without a state. Raises TaskError."""
    # One kernel over all weights where torch has it: half the time of the loop over them, or a third.
    fused = device.type in {"cpu", "cuda"}
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(
                parameters,
                lr=recipe.learning_rate,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
                fused=fused,
            )
        case "adamw":
            return torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)
        case other:
            raise TaskError("TASK", f"the hyperparameter optimizer is {other!r}, neither sgd nor adamw")


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """For the steps to come."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


class Proximal:
    """FedProx (Li et al. 2018, arXiv:1812.06127): adds mu / 2 times the squared distance from the start to the loss.

    The term's gradient is known, mu times the distance, so it is added to the gradients.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], mu: float) -> None:
        self._parameters, self._mu = parameters, mu
        self._start = [parameter.detach().clone() for parameter in parameters] if mu else []

    def add_gradients(self) -> None:
        """After the loss's own gradients."""
        grads: list[Tensor] = []
        distances: list[Tensor] = []
        for parameter, start in zip(self._parameters, self._start, strict=True):
            if parameter.grad is not None:
                grads.append(parameter.grad)
                distances.append(parameter.detach() - start)
        if grads:
            torch._foreach_add_(grads, distances, alpha=self._mu)
