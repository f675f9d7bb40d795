"""The catalogue: which architectures there are and what their hyperparameters may be.

The coordinator checks and completes hyperparameters before anything runs; workers hold the code. Contract tests keep
the two in step.
"""

from collections.abc import Mapping

from trainnet.coordinator.domain.catalog.bert import BERT
from trainnet.coordinator.domain.catalog.cnn import CNN
from trainnet.coordinator.domain.catalog.distilbert import DISTILBERT
from trainnet.coordinator.domain.catalog.gpt2 import GPT2
from trainnet.coordinator.domain.catalog.mlp import MLP
from trainnet.coordinator.domain.catalog.mobilenet_v2 import MOBILENET_V2
from trainnet.coordinator.domain.catalog.noop import NOOP
from trainnet.coordinator.domain.catalog.types import (
    Architecture,
    BadHyperparameter,
    Data,
    Hyperparameter,
    Size,
    Task,
    Type,
    Value,
)
from trainnet.coordinator.domain.catalog.vit import VIT
from trainnet.coordinator.domain.catalog.whisper import WHISPER

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "BadHyperparameter",
    "Data",
    "Hyperparameter",
    "Size",
    "Task",
    "Type",
    "Value",
]

ARCHITECTURES: Mapping[str, Architecture] = {
    item.name: item for item in (BERT, CNN, DISTILBERT, GPT2, MLP, MOBILENET_V2, NOOP, VIT, WHISPER)
}
"""All of them, by name."""
