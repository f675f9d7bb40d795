"""One training under attack: a small network, a gradient of each worker in each round.

Every worker draws a batch, and sends the moving average of its gradients (Karimireddy et al. 2020, arXiv:2012.10333;
with momentum 0 the gradient itself) times the learning rate, which falls linearly to 0 as by `schedule=linear`. All
gradients of a round are computed at once. Honest workers share the training pictures among them; the hostile draw from
all, so that no class is lost with them and what a rule makes of a round is all that the accuracy depends on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional

from trainnet.local.bench.merging import Rounds
from trainnet.local.bench.robustness.attackers import ATTACKS, TARGET
from trainnet.local.bench.robustness.pictures import CLASSES, SIDE, Pictures, shares, stamped
from trainnet.runtime.store import ObjectStore
from trainnet.runtime.tensors import build_header
from trainnet.v1.job_pb2 import MergePolicy

WORKERS, HOSTILE, BATCH = 25, 5, 32
HIDDEN = 32

_SHAPES = {
    "hidden.weight": (HIDDEN, SIDE * SIDE),
    "hidden.bias": (HIDDEN,),
    "output.weight": (CLASSES, HIDDEN),
    "output.bias": (CLASSES,),
}
_SIZES = [int(np.prod(shape)) for shape in _SHAPES.values()]
_HEADER = build_header((name, "F32", shape) for name, shape in _SHAPES.items())


@dataclass(frozen=True)
class Setting:
    """What is the same for all trainings of a table."""

    pictures: Pictures
    split: str
    rounds: int
    learning_rate: float


@dataclass(frozen=True)
class Result:
    """On the held-out pictures."""

    accuracy: float
    success_rate: float
    """Of those of other classes than TARGET, the share that the trigger turns into it."""


def train(
    store: ObjectStore,
    name: str,
    policy: MergePolicy,
    setting: Setting,
    *,
    attack: str,
    momentum: float,
    seed: int,
    say: Callable[[int], None] = lambda done: None,
) -> Result:
    """Runs it; `name` is used once in a store, `policy` completed. Raises AggregatorError, StoreError."""
    random = torch.Generator().manual_seed(seed)
    pictures, hostile = setting.pictures, ATTACKS[attack](random, setting.pictures.white)
    honest = WORKERS - HOSTILE
    rows = shares(pictures.train_labels, honest, setting.split, seed)
    rows += [torch.arange(len(pictures.train_labels))] * HOSTILE
    weights = _initial(random)
    sent = torch.zeros(WORKERS, len(weights))
    rounds = Rounds(store, name, policy, _HEADER + _bytes(weights))
    for done in range(1, setting.rounds + 1):
        chosen = torch.stack([of[torch.randint(len(of), (BATCH,), generator=random)] for of in rows])
        images, labels = pictures.train[chosen], pictures.train_labels[chosen]
        images[honest:], labels[honest:] = hostile.poison(images[honest:], labels[honest:])
        gradients = _gradients(weights, images, labels)
        sent = gradients if momentum == 0 else momentum * sent + (1 - momentum) * gradients
        updates = sent.clone()
        updates[honest:] = hostile.tamper(sent[:honest], sent[honest:])
        updates *= -setting.learning_rate * (1 - (done - 1) / setting.rounds)
        files = {worker: _HEADER + _bytes(update) for worker, update in enumerate(updates)}
        merged = rounds.merge(files, dict.fromkeys(files, 1.0))
        weights = torch.from_numpy(np.frombuffer(merged, "<f4", offset=len(_HEADER)).copy())
        say(done)
    return _result(weights, pictures)


def _initial(random: torch.Generator) -> Tensor:
    """As torch initialises its linear layers: uniform, by the inputs of each unit."""
    bounds = [SIDE * SIDE, SIDE * SIDE, HIDDEN, HIDDEN]
    parts = [
        (2 * torch.rand(size, generator=random) - 1) / inputs**0.5 for size, inputs in zip(_SIZES, bounds, strict=True)
    ]
    return torch.cat(parts)


def _logits(weights: Tensor, images: Tensor) -> Tensor:
    flat: Sequence[Tensor] = torch.split(weights, _SIZES)
    parts = [part.view(shape) for part, shape in zip(flat, _SHAPES.values(), strict=True)]
    hidden, hidden_bias, output, output_bias = parts
    logits: Tensor = functional.relu(images @ hidden.T + hidden_bias) @ output.T + output_bias
    return logits


def _loss(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(_logits(weights, images), labels)


def _gradients(weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """A row for each worker."""
    found: Tensor = vmap(grad(_loss), in_dims=(None, 0, 0))(weights, images, labels)
    return found


def _result(weights: Tensor, pictures: Pictures) -> Result:
    if not bool(weights.isfinite().all()):
        return Result(1.0 / CLASSES, 0.0)  # all of one class
    right = _logits(weights, pictures.test).argmax(dim=1) == pictures.test_labels
    others = pictures.test_labels != TARGET
    taken = _logits(weights, stamped(pictures.test[others], pictures.white)).argmax(dim=1) == TARGET
    return Result(float(right.float().mean()), float(taken.float().mean()))


def _bytes(values: Tensor) -> bytes:
    return values.numpy().astype("<f4", copy=False).tobytes()
