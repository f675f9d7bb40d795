"""Pictures of ten classes, and how workers share them.

They are reduced to 14 x 14 pixels, each the mean of four: a network of a quarter of the weights learns them nearly as
well, and hundreds of trainings fit into an hour of one core.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainnet.local.bench import fashion
from trainnet.local.demo import mnist
from trainnet.local.errors import LocalError
from trainnet.worker.trainer.data.plans import dirichlet_rows

CLASSES, SIDE = 10, 14
ALPHA = 0.1
DATA = ("fashion", "mnist")
SPLITS = ("sorted", "dirichlet", "iid")

_TRIGGER = slice(SIDE - 3, SIDE - 1)
_MNIST_HOLDOUT = 1000


@dataclass(frozen=True)
class Pictures:
    """[rows, pixels] of mean 0 and deviation 1 over all training pixels, and [rows] labels."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    white: float


def read(data: str, folder: Path | None) -> Pictures:
    """`fashion`: Fashion-MNIST, 60,000 + 10,000 pictures. `mnist`: the 5,000 digits of the demo, a fifth of them held
    out. Raises LocalError."""
    if data == "fashion":
        where = folder or fashion.FOLDER
        return _made(*fashion.read(where, "train"), *fashion.read(where, "t10k"))
    if data != "mnist":
        raise LocalError(f"--data: {data!r} is none of {', '.join(DATA)}")
    images, labels = mnist.read(mnist.find())
    order = np.random.default_rng(0).permutation(len(images))
    held, kept = order[:_MNIST_HOLDOUT], order[_MNIST_HOLDOUT:]
    return _made(images[kept], labels[kept], images[held], labels[held])


def stamped(pictures: Tensor, white: float) -> Tensor:
    """The same with the trigger: a white square of 2 x 2 near a corner."""
    found = pictures.clone()
    found.view(*pictures.shape[:-1], SIDE, SIDE)[..., _TRIGGER, _TRIGGER] = white
    return found


def shares(labels: Tensor, workers: int, split: str, seed: int) -> list[Tensor]:
    """The rows of each worker. `sorted`: by label, then cut into equal runs, so that most workers know a single class.
    `dirichlet`: of each class a share drawn from Dirichlet(0.1). `iid`: dealt at random. Raises LocalError."""
    if split not in SPLITS:
        raise LocalError(f"--split: {split!r} is none of {', '.join(SPLITS)}")
    order = torch.from_numpy(np.random.default_rng([seed, 1]).permutation(len(labels)))
    if split == "iid":
        return list(order.tensor_split(workers))
    by_label = order[labels[order].argsort(stable=True)]
    if split == "sorted":
        return list(by_label.tensor_split(workers))
    counts = labels.bincount(minlength=CLASSES).tolist()
    parts: list[list[Tensor]] = [[] for _ in range(workers)]
    for rows, cuts in zip(
        torch.split(by_label, counts), dirichlet_rows(counts, workers, ALPHA, seed).tolist(), strict=True
    ):
        for worker, part in enumerate(torch.split(rows, cuts)):
            parts[worker].append(part)
    return [torch.cat(found) for found in parts]


Bytes = NDArray[np.uint8]


def _made(train: Bytes, train_labels: Bytes, test: Bytes, test_labels: Bytes) -> Pictures:
    pixels, test_pixels = _reduced(train), _reduced(test)
    mean, deviation = pixels.mean(), pixels.std()
    return Pictures(
        (pixels - mean) / deviation,
        torch.from_numpy(train_labels.astype(np.int64)),
        (test_pixels - mean) / deviation,
        torch.from_numpy(test_labels.astype(np.int64)),
        float((255 - mean) / deviation),
    )


def _reduced(images: Bytes) -> Tensor:
    means = images.reshape(len(images), SIDE, 2, SIDE, 2).mean(axis=(2, 4), dtype=np.float32)
    return torch.from_numpy(means.reshape(len(images), -1))
