"""The catalogue: which architectures there are and what their hyperparameters may be.

The coordinator checks and completes hyperparameters before anything runs; workers hold the code. A contract test
keeps the two in step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeAlias, TypeVar

Value: TypeAlias = int | float | str | bool | list[int]
_Number = TypeVar("_Number", int, float)


class Type(StrEnum):
    INTEGER = "INTEGER"
    FLOAT = "FLOAT"
    CHOICE = "CHOICE"
    BOOLEAN = "BOOLEAN"
    INTEGER_LIST = "INTEGER_LIST"


class Data(StrEnum):
    NONE = "NONE"
    TABULAR = "TABULAR"
    IMAGE = "IMAGE"


class BadHyperparameter(ValueError):
    """A hyperparameter that is unknown, of the wrong type or out of range; `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Hyperparameter:
    name: str
    type: Type
    default: Value
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def parse(self, value: object) -> Value:
        """The value in its own type; numbers arrive as doubles and must be whole where an integer is meant."""
        match self.type:
            case Type.INTEGER:
                return self._in_range(self._integer(value))
            case Type.FLOAT:
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                    raise self._bad(value)
                return self._in_range(float(value))
            case Type.BOOLEAN:
                if not isinstance(value, bool):
                    raise self._bad(value)
                return value
            case Type.CHOICE:
                if value not in self.choices:
                    raise self._bad(value)
                return str(value)
            case Type.INTEGER_LIST:
                if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= 16:
                    raise self._bad(value)
                return [int(self._in_range(self._integer(item))) for item in value]

    def expected(self) -> str:
        """What may stand there, for messages."""
        span = "" if self.minimum is None else f" from {self.minimum:g} to {self.maximum:g}"
        return {
            Type.INTEGER: f"a whole number{span}",
            Type.FLOAT: f"a number{span}",
            Type.BOOLEAN: "true or false",
            Type.CHOICE: "one of " + ", ".join(self.choices),
            Type.INTEGER_LIST: f"a list of 1 to 16 whole numbers{span}",
        }[self.type]

    def _integer(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value % 1:
            raise self._bad(value)
        return int(value)

    def _in_range(self, value: _Number) -> _Number:
        low, high = self.minimum, self.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise self._bad(value)
        return value

    def _bad(self, value: object) -> BadHyperparameter:
        return BadHyperparameter(self.name, f"{self.name} must be {self.expected()}, not {value!r}")


@dataclass(frozen=True)
class Architecture:
    name: str
    description: str
    data: Data
    hyperparameters: tuple[Hyperparameter, ...]

    def complete(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Every hyperparameter: the given ones checked, the rest at their defaults. Raises BadHyperparameter."""
        known = {parameter.name: parameter for parameter in self.hyperparameters}
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
                raise BadHyperparameter(name, f"{self.name} has no hyperparameter {name}: {hint}")
        return {
            name: parameter.parse(given[name]) if name in given else parameter.default
            for name, parameter in known.items()
        }


_TRAINING = (
    Hyperparameter("optimizer", Type.CHOICE, "sgd", "How weights follow their gradients.", choices=("sgd", "adamw")),
    Hyperparameter("learning_rate", Type.FLOAT, 0.05, "Step size of the optimizer.", 1e-7, 10),
    Hyperparameter("momentum", Type.FLOAT, 0.9, "Momentum of sgd; adamw has its own.", 0, 0.999),
    Hyperparameter("weight_decay", Type.FLOAT, 0.0, "Pull of the weights towards zero.", 0, 1),
    Hyperparameter("batch_size", Type.INTEGER, 64, "Rows in each step.", 1, 65536),
)

ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "cnn",
            "Small convolutional network for small images: two 3x3 convolutions and two dense layers.",
            Data.IMAGE,
            (
                Hyperparameter(
                    "width",
                    Type.INTEGER,
                    16,
                    "Channels of the first convolution; the second has twice as many.",
                    1,
                    1024,
                ),
                Hyperparameter("hidden", Type.INTEGER, 128, "Units of the hidden dense layer.", 1, 65536),
                *_TRAINING,
            ),
        ),
        Architecture(
            "mlp",
            "Multi-layer perceptron for tables of numbers and categories.",
            Data.TABULAR,
            (
                Hyperparameter("hidden", Type.INTEGER_LIST, [64, 64], "Units of each hidden layer.", 1, 65536),
                Hyperparameter("dropout", Type.FLOAT, 0.0, "Share of the hidden units dropped in training.", 0, 0.95),
                *_TRAINING,
            ),
        ),
        Architecture(
            "noop",
            "Trains nothing and returns a seeded random delta: measures everything but the training.",
            Data.NONE,
            (Hyperparameter("params", Type.INTEGER, 1024, "Number of fp32 parameters.", 1, 20e9),),
        ),
    )
}
