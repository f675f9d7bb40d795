"""The catalogue's tables of configuration fields are written by hand: they must be those of the real classes."""

import types
import typing
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    MobileNetV2Config,
    PreTrainedConfig,
    ViTConfig,
    WhisperConfig,
)

from trainnet.coordinator.domain.catalog import ARCHITECTURES, Type
from trainnet.coordinator.domain.catalog.configuration import SET_BY_US
from trainnet.worker.trainer.models.configuration import OURS
from trainnet.worker.trainer.models.families import FAMILIES

CLASSES: dict[str, type[PreTrainedConfig]] = {
    "bert": BertConfig,
    "distilbert": DistilBertConfig,
    "gpt2": GPT2Config,
    "mobilenet_v2": MobileNetV2Config,
    "vit": ViTConfig,
    "whisper": WhisperConfig,
}
SCALARS = {bool: Type.BOOLEAN, str: Type.STRING, float: Type.FLOAT, int: Type.INTEGER}
"""In the order in which they win: `float | int` is a number."""


def scalar(annotation: object) -> Type | None:
    """The hyperparameter's type for a field; None for lists and the like."""
    union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union
    kinds = typing.get_args(annotation) if union else (annotation,)
    return next((kind for plain, kind in SCALARS.items() if plain in kinds), None)


def own_fields(name: str) -> dict[str, Type]:
    found = {field: scalar(annotation) for field, annotation in CLASSES[name].__annotations__.items()}
    return {field: kind for field, kind in found.items() if kind is not None}


def test_every_architecture_with_configuration_fields_is_compared() -> None:
    configured = {
        name
        for name, item in ARCHITECTURES.items()
        if any(knob.name.startswith("config.") for knob in item.hyperparameters)
    }
    assert configured == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_the_fields_are_those_of_the_configuration(name: str) -> None:
    promised = {
        knob.name.removeprefix("config."): knob.type
        for knob in ARCHITECTURES[name].hyperparameters
        if knob.name.startswith("config.")
    }
    assert promised == {field: kind for field, kind in own_fields(name).items() if field not in SET_BY_US}


@pytest.mark.parametrize("name", CLASSES)
def test_published_values_are_in_range(name: str) -> None:
    published = CLASSES[name]().to_dict()
    for knob in ARCHITECTURES[name].hyperparameters:
        if knob.name.startswith("config."):
            value = published[knob.name.removeprefix("config.")]
            assert value is None or knob.parse(value) == value


def test_both_sides_leave_out_the_same_fields() -> None:
    assert set(SET_BY_US) == OURS


SIZES = [
    pytest.param(name, size.name, size.parameters, id=f"{name}-{size.name}")
    for name in CLASSES
    for size in ARCHITECTURES[name].sizes
]


@pytest.mark.parametrize(("name", "size", "parameters"), SIZES)
def test_a_size_is_as_large_as_promised(name: str, size: str, parameters: int) -> None:
    family = FAMILIES[name]
    assert set(family.sizes) == {item.name for item in ARCHITECTURES[name].sizes}
    defaults = ARCHITECTURES[name].complete({})
    given: dict[str, Any] = {"vocab_size": defaults["vocab_size"]} if "vocab_size" in defaults else {"num_labels": 10}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    given |= {token: value for token, value in tokens.items() if token in own_fields(name)}
    with torch.device("meta"):
        model = family.model_class()(CLASSES[name](**{**family.sizes[size], **given}))
    assert sum(tensor.numel() for tensor in model.parameters()) == pytest.approx(parameters, rel=0.05)


def test_a_reason_stands_for_fields_that_exist_only() -> None:
    assert set(SET_BY_US) <= {field for name in CLASSES for field in own_fields(name)}
