"""The catalogue: what can be trained, on which data, with which knobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from google.protobuf import json_format

from trainnet.client._errors import FieldViolation, InvalidArgument
from trainnet.client._models import short, whole
from trainnet.client._nearest import nearest
from trainnet.client._rpc import Connection
from trainnet.v1 import catalog_pb2

MODEL, CONFIGURATION, LORA, TRAINING = "model", "configuration", "LoRA", "training"

_GROUPS = (MODEL, TRAINING, LORA, CONFIGURATION)
"""What knobs are about, in the order in which people ask for it."""

# The knobs that every architecture that learns by gradients shares.
_TRAINING = frozenset(
    {
        "accumulate", "batch_size", "compile", "fedprox_mu", "gradient_clip", "label_smoothing", "learning_rate",
        "momentum", "optimizer", "precision", "schedule", "warmup_steps", "weight_decay",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Hyperparameter:
    """A knob of an architecture. `type` is integer, float, choice, boolean, integer_list or string.

    A `default` of None says that the architecture's size, or what a job starts from, decides.
    """

    name: str
    type: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    description: str

    @property
    def group(self) -> str:
        """What it is about: model, training, LoRA or configuration."""
        prefix = self.name.partition(".")[0]
        if prefix == self.name:
            return TRAINING if self.name in _TRAINING else MODEL
        return LORA if prefix == "lora" else CONFIGURATION

    @classmethod
    def of(cls, message: catalog_pb2.Hyperparameter) -> Self:
        """From the contract's message."""
        default = json_format.MessageToDict(message.default_value) if message.HasField("default_value") else None
        return cls(
            name=message.name,
            type=short(catalog_pb2.HyperparameterType, message.type, "HYPERPARAMETER_TYPE_").lower(),
            default=whole(default),
            minimum=message.minimum if message.HasField("minimum") else None,
            maximum=message.maximum if message.HasField("maximum") else None,
            choices=tuple(message.choices),
            description=message.description,
        )


@dataclass(frozen=True)
class ArchitectureSize:
    """A named configuration; `parameters` is 0 where the data alone decide them."""

    name: str
    parameters: int
    description: str


@dataclass(frozen=True)
class Architecture:
    """An architecture of the catalogue.

    `data` is none, tabular, image, text or audio; `task` is none, classification, language_modeling or transcription.
    """

    name: str
    description: str
    data: str
    task: str
    takes_base: bool
    sizes: tuple[ArchitectureSize, ...]
    hyperparameters: tuple[Hyperparameter, ...]

    @property
    def groups(self) -> dict[str, tuple[Hyperparameter, ...]]:
        """The hyperparameters by what they are about; groups without any are left out."""
        every = {group: tuple(knob for knob in self.hyperparameters if knob.group == group) for group in _GROUPS}
        return {group: knobs for group, knobs in every.items() if knobs}

    @classmethod
    def of(cls, message: catalog_pb2.Architecture) -> Self:
        """From the contract's message."""
        return cls(
            name=message.architecture,
            description=message.description,
            data=short(catalog_pb2.DataKind, message.data, "DATA_KIND_").lower(),
            task=short(catalog_pb2.LearningTask, message.task, "LEARNING_TASK_").lower(),
            takes_base=message.takes_base,
            sizes=tuple(ArchitectureSize(item.name, item.parameters, item.description) for item in message.sizes),
            hyperparameters=tuple(Hyperparameter.of(item) for item in message.hyperparameters),
        )


class Architectures:
    """The catalogue of a coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> list[Architecture]:
        """All of them, by name."""
        request = catalog_pb2.ListArchitecturesRequest()
        answer = self._connection.call(self._connection.catalog.ListArchitectures, request)
        return [Architecture.of(message) for message in answer.architectures]

    def get(self, name: str) -> Architecture:
        """One of them. Raises InvalidArgument, which names the nearest one."""
        found = {architecture.name: architecture for architecture in self.list()}
        if name not in found:
            raise InvalidArgument(
                f"architecture: there is no {name!r}",
                violations=(FieldViolation("spec.architecture", f"there is no {name!r}"),),
                hint=nearest(name, list(found), "there are"),
            )
        return found[name]
