"""What the catalogue is made of: architectures, their knobs, and how values are checked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeVar

from trainnet.coordinator.domain.text import nearest

Value: TypeAlias = int | float | str | bool | list[int] | None
"""A hyperparameter's value; None where the architecture's size or its base decides."""
_Number = TypeVar("_Number", int, float)

MAX_STRING = 1000
MAX_LIST = 16
_FEW = 20
"""So many names can be told to somebody who typed one that is unlike all of them."""


class Type(StrEnum):
    INTEGER = "INTEGER"
    FLOAT = "FLOAT"
    CHOICE = "CHOICE"
    BOOLEAN = "BOOLEAN"
    INTEGER_LIST = "INTEGER_LIST"
    STRING = "STRING"


class Data(StrEnum):
    """What data an architecture takes."""

    NONE = "NONE"
    TABULAR = "TABULAR"
    IMAGE = "IMAGE"
    TEXT = "TEXT"
    AUDIO = "AUDIO"


class Task(StrEnum):
    """What an architecture learns."""

    NONE = "NONE"
    CLASSIFICATION = "CLASSIFICATION"
    LANGUAGE_MODELING = "LANGUAGE_MODELING"
    TRANSCRIPTION = "TRANSCRIPTION"


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
        """The value in its own type; numbers arrive as doubles and must be whole where an integer is meant. None is
        taken where it is the default."""
        if value is None and self.default is None:
            return None
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
                if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= MAX_LIST:
                    raise self._bad(value)
                return [int(self._in_range(self._integer(item))) for item in value]
            case Type.STRING:
                if not isinstance(value, str) or len(value) > MAX_STRING:
                    raise self._bad(value)
                return value

    def expected(self) -> str:
        """What may stand there, for messages."""
        span = "" if self.minimum is None else f" from {self.minimum:g} to {self.maximum:g}"
        return {
            Type.INTEGER: f"a whole number{span}",
            Type.FLOAT: f"a number{span}",
            Type.BOOLEAN: "true or false",
            Type.CHOICE: "one of " + ", ".join(self.choices),
            Type.INTEGER_LIST: f"a list of 1 to {MAX_LIST} whole numbers{span}",
            Type.STRING: f"a text of up to {MAX_STRING} characters",
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
        shown = repr(value)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
        return BadHyperparameter(self.name, f"{self.name} must be {self.expected()}, not {shown}")


@dataclass(frozen=True)
class Size:
    """A named set of an architecture's configuration."""

    name: str
    parameters: int
    """Trainable parameters for the data that it is usually given, about."""
    description: str


@dataclass(frozen=True)
class Architecture:
    name: str
    description: str
    data: Data
    task: Task
    hyperparameters: tuple[Hyperparameter, ...]
    sizes: tuple[Size, ...] = ()
    takes_base: bool = True
    hub: bool = False
    """The model hub has models of it."""

    @property
    def tokenizes(self) -> bool:
        """It reads or writes text, so a tokenizer belongs to it."""
        return self.data is Data.TEXT or self.task is Task.TRANSCRIPTION

    def complete(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Every hyperparameter: the given ones checked, the rest at their defaults. Raises BadHyperparameter."""
        known = {parameter.name: parameter for parameter in self.hyperparameters}
        for name in given:
            if name not in known:
                raise BadHyperparameter(name, f"{self.name} has no hyperparameter {name}: {self._hint(name)}")
        return {
            name: parameter.parse(given[name]) if name in given else parameter.default
            for name, parameter in known.items()
        }

    def _hint(self, name: str) -> str:
        known = [parameter.name for parameter in self.hyperparameters]
        # `n_layer` for `config.n_layer` is the likeliest slip of all.
        near = [item for item in known if item.rpartition(".")[2] == name] or nearest(name, known)
        if near:
            return f"did you mean {' or '.join(near)}?"
        if len(known) <= _FEW:
            return f"it takes {', '.join(known)}"
        plain = [item for item in known if not item.startswith("config.")]
        return f"it takes {', '.join(plain)}, and the fields of its configuration as config.NAME"
