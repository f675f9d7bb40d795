"""How a round trains: the numbers of a TrainSpec and its hyperparameters, and the learning rate that they give."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trainnet.v1.task_pb2 import TrainSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.hyperparameters import boolean, integer, number, text


@dataclass(frozen=True)
class Recipe:
    """`steps` are the optimizer's. Each learns from `step_size` examples, `batch_size` at a time."""

    batch_size: int
    step_size: int
    epochs: int
    local_steps: int
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: str
    warmup_steps: int
    gradient_clip: float
    label_smoothing: float
    fedprox_mu: float
    precision: str
    compile: bool
    round: int
    rounds: int

    @classmethod
    def of(cls, spec: TrainSpec) -> Recipe:
        """What a task asks for; what an older coordinator does not know stays as it was then. Raises TaskError."""
        model = spec.model
        batch_size = integer(model, "batch_size")
        return cls(
            batch_size=batch_size,
            step_size=batch_size * integer(model, "accumulate", 1),
            epochs=max(1, spec.epochs),
            local_steps=spec.local_steps,
            optimizer=text(model, "optimizer"),
            learning_rate=number(model, "learning_rate"),
            momentum=number(model, "momentum"),
            weight_decay=number(model, "weight_decay"),
            schedule=text(model, "schedule", "constant"),
            warmup_steps=integer(model, "warmup_steps", 0),
            gradient_clip=number(model, "gradient_clip", 0.0),
            label_smoothing=number(model, "label_smoothing", 0.0),
            fedprox_mu=number(model, "fedprox_mu", 0.0),
            precision=text(model, "precision", "auto"),
            compile=boolean(model, "compile", default=False),
            round=max(1, spec.round),
            rounds=max(1, spec.rounds, spec.round),
        )

    def steps_per_epoch(self, examples: int) -> int:
        """Steps of one pass; its last one may be smaller, but is never a single example: see `parts`."""
        return examples if self.step_size == 1 else max(1, -(-(examples - 1) // self.step_size))

    def steps(self, examples: int) -> int:
        """Steps of the round."""
        return self.local_steps or self.epochs * self.steps_per_epoch(examples)

    def halved(self) -> Recipe:
        """The same steps in batches of half the size."""
        return replace(self, batch_size=-(-self.batch_size // 2))

    @property
    def constant(self) -> bool:
        """Whether the learning rate stays as it is."""
        return self.schedule == "constant" and self.warmup_steps == 0

    def learning_rate_at(self, step: int, steps: int) -> float:
        """For a step of this round, from 0, where every round has `steps`. Schedules run over all rounds.

        Raises TaskError.
        """
        at, total = (self.round - 1) * steps + step, self.rounds * steps
        if at < self.warmup_steps:
            return self.learning_rate * (at + 1) / self.warmup_steps
        gone = (at - self.warmup_steps) / max(1, total - self.warmup_steps)
        match self.schedule:
            case "constant":
                return self.learning_rate
            case "linear":
                return self.learning_rate * (1.0 - gone)
            case "cosine":
                return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * gone))
            case other:
                raise TaskError("TASK", f"the hyperparameter schedule is {other!r}, not constant, linear or cosine")
