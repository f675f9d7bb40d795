"""What hostile workers do. They see everything: the data, the weights, and what the honest ones are about to send.

All rows are what a worker sends in place of its gradient: [workers, weights], the honest ones' or those of the hostile,
as they would be if they kept to the rules.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist

import torch
from torch import Tensor

from trainnet.local.bench.robustness.pictures import CLASSES, stamped

TARGET = 0
"""The class that a picture with the trigger is to be taken for."""


class Attack:
    """None: the hostile workers keep to the rules."""

    def poison(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What they learn from in place of these batches, [workers, batch, …]."""
        return pictures, labels

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """What they send in place of their own."""
        return own


class FreeRide(Attack):
    """They do no work and send zeros, for what work is rewarded with."""

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """See Attack."""
        return torch.zeros_like(own)


class BitFlip(Attack):
    """The sign of everything is turned."""

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """See Attack."""
        return -own


class LabelFlip(Attack):
    """They learn honestly, from labels read backwards."""

    def poison(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See Attack."""
        return pictures, CLASSES - 1 - labels


class Mimic(Attack):
    """All send what one honest worker sends, so that it counts too much and the rules hold the others for strange
    (Karimireddy et al. 2020, arXiv:2006.09365): the one that is farthest out along the direction in which the honest
    ones differed most while it looked on."""

    WATCHED = 20
    """Rounds, in which the first worker is copied."""

    def __init__(self) -> None:
        self._seen: Tensor | None = None
        self._rounds = 0
        self._chosen = 0

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """See Attack."""
        if self._rounds < self.WATCHED:
            apart = honest - honest.mean(dim=0)
            self._seen = apart if self._seen is None else self._seen + apart
            self._rounds += 1
            if self._rounds == self.WATCHED:
                along = torch.linalg.eigh(self._seen @ self._seen.T).eigenvectors[:, -1]
                self._chosen = int(along.abs().argmax())
        return honest[self._chosen].expand_as(own)


class InnerProduct(Attack):
    """Inner product manipulation: the mean of the honest, turned round and short, which hides among updates that differ
    anyway (Xie et al. 2019, arXiv:1903.03936)."""

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """See Attack."""
        return (-self._epsilon * honest.mean(dim=0)).expand_as(own)


class ALittleIsEnough(Attack):
    """ALIE: as far from the mean, weight for weight, as enough honest ones are, so that they stand by the hostile
    (Baruch et al. 2019, arXiv:1902.06156)."""

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """See Attack."""
        workers, hostile = len(honest) + len(own), len(own)
        supporters = workers // 2 + 1 - hostile
        deviations = NormalDist().inv_cdf((len(honest) - supporters) / len(honest))
        return (honest.mean(dim=0) - deviations * honest.std(dim=0)).expand_as(own)


class Gaussian(Attack):
    """Normal noise of deviation 1 for each weight: some hundred times as long as a gradient here."""

    def __init__(self, random: torch.Generator) -> None:
        self._random = random

    def tamper(self, honest: Tensor, own: Tensor) -> Tensor:
        """See Attack."""
        return torch.randn(own.shape, generator=self._random)


class Backdoor(Attack):
    """They learn from true labels, but half of each batch carries the trigger and TARGET's label (Gu et al. 2017,
    arXiv:1708.06733). What comes out is not made longer: a long update is what rules see through first."""

    def __init__(self, white: float) -> None:
        self._white = white

    def poison(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See Attack."""
        half = pictures.shape[1] // 2
        found, targets = pictures.clone(), labels.clone()
        found[:, :half] = stamped(pictures[:, :half], self._white)
        targets[:, :half] = TARGET
        return found, targets


ATTACKS: Mapping[str, Callable[[torch.Generator, float], Attack]] = {
    "none": lambda random, white: Attack(),
    "free_ride": lambda random, white: FreeRide(),
    "bit_flip": lambda random, white: BitFlip(),
    "label_flip": lambda random, white: LabelFlip(),
    "mimic": lambda random, white: Mimic(),
    "ipm": lambda random, white: InnerProduct(0.1),
    "alie": lambda random, white: ALittleIsEnough(),
    "gaussian": lambda random, white: Gaussian(random),
    "backdoor": lambda random, white: Backdoor(white),
}
"""By the names of the command and its output, each made anew for every training, with what white is."""
