"""From a ModelSpec and its parts to a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.hyperparameters import integer
from trainnet.worker.trainer.inputs.encoding import Encoding
from trainnet.worker.trainer.inputs.images import ImageEncoding
from trainnet.worker.trainer.inputs.speech import SpeechEncoding
from trainnet.worker.trainer.inputs.tables import TableEncoding
from trainnet.worker.trainer.inputs.tokens import END_OF_TEXT, BlockEncoding, TextEncoding, load_tokenizer
from trainnet.worker.trainer.models import configuration, lora, plain
from trainnet.worker.trainer.models.bundle import PREPROCESSOR, TOKENIZER, Parts, from_json, read_bundle
from trainnet.worker.trainer.models.families import FAMILIES, Family
from trainnet.worker.trainer.models.model import Model, Objective
from trainnet.worker.trainer.models.objectives import Classification, LanguageModelling
from trainnet.worker.trainer.models.parts import FRAMES_A_SECOND, make_parts
from trainnet.worker.trainer.models.transcription import Transcription
from trainnet.worker.trainer.weights import read_weights

# Its own 0.997 means, in torch's terms, to remember the last batch alone: what an evaluation then sees is noise.
_BATCH_NORM_MOMENTUM = 0.1


def build_model(spec: ModelSpec, seed: int, bundle: Path | None = None, frozen: Path | None = None) -> Model:
    """The model of a task, with seeded initial weights. `bundle` and `frozen` are ModelParts' files.

    Raises TaskError.
    """
    parts = read_bundle(bundle) if bundle is not None else None
    whole = whole_model(spec, seed, parts)
    family = FAMILIES.get(spec.architecture)
    if family is None or not lora.rank(family, spec):
        return whole
    if frozen is None:
        raise TaskError("TASK", "the task lacks the frozen weights that its adapter is for: clone the job")
    whole.load(read_weights(frozen))
    return lora.adapt(whole, family, spec, seed)


def whole_model(spec: ModelSpec, seed: int, parts: Parts | None) -> Model:
    """The model without any adapter. Raises TaskError."""
    family = FAMILIES.get(spec.architecture)
    if family is None:
        return _plain_model(spec, seed)
    # Without a tokenizer to train, what INITIALIZE makes can be made here.
    parts = make_parts(family, spec, None, None) if parts is None else parts
    config = configuration.read(family, parts)
    module = _module(family, config, spec, seed)
    return Model(module, *_goal(family, spec, config, parts))


def _plain_model(spec: ModelSpec, seed: int) -> Model:
    module = plain.build(spec, seed)
    shape = spec.schema.image
    encoding: Encoding
    if spec.architecture == "cnn":
        encoding = ImageEncoding(spec.schema, shape.height, shape.width, shape.channels)
    else:
        encoding = TableEncoding(spec.schema)
    return Model(module, encoding, Classification(spec.schema.classes))


def _module(family: Family, config: Any, spec: ModelSpec, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    try:
        module: nn.Module = family.model_class()(config)
    except Exception as error:  # transformers checks by whatever comes to hand
        raise configuration.unfit(family, configuration.owners_fields(family, spec), error) from error
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = _BATCH_NORM_MOMENTUM
    return module


def _goal(family: Family, spec: ModelSpec, config: Any, parts: Parts) -> tuple[Encoding, Objective]:
    schema = spec.schema
    match family.architecture:
        case "gpt2":
            end = load_tokenizer(parts[TOKENIZER]).id_to_token(config.eos_token_id)
            length = integer(spec, "max_length")
            blocks = BlockEncoding(schema, parts[TOKENIZER], length, end_token=end or END_OF_TEXT)
            return blocks, LanguageModelling()
        case "whisper":
            tokenizer, length = load_tokenizer(parts[TOKENIZER]), integer(spec, "max_length")
            seconds = math.ceil(config.max_source_positions / FRAMES_A_SECOND)
            features = from_json(parts, PREPROCESSOR)
            speech = SpeechEncoding(schema, parts[TOKENIZER], features, seconds, length)
            return speech, Transcription(tokenizer, config.eos_token_id, length)
        case "vit" | "mobilenet_v2":
            plain.class_count(schema)
            settings = from_json(parts, PREPROCESSOR)
            size = settings["size"]
            mean, deviation = settings["image_mean"], settings["image_std"]
            images = ImageEncoding(
                schema, size["height"], size["width"], config.num_channels, mean=mean, deviation=deviation
            )
            return images, Classification(schema.classes)
        case _:
            texts = TextEncoding(schema, parts[TOKENIZER], integer(spec, "max_length"))
            plain.class_count(schema)
            return texts, Classification(schema.classes)
