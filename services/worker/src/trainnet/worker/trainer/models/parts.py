"""What stands in a model's folder beside its weights: made once, by INITIALIZE."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.hyperparameters import integer, number
from trainnet.worker.trainer.inputs.tokens import END_OF_TEXT, load_tokenizer, token_id
from trainnet.worker.trainer.models import configuration
from trainnet.worker.trainer.models.bundle import CONFIG, GENERATION, PREPROCESSOR, TOKENIZER, Parts, from_json, to_json
from trainnet.worker.trainer.models.families import Family
from trainnet.worker.trainer.models.tokenizer import base_tokenizer
from trainnet.worker.trainer.models.vocabulary import (
    NO_TIMESTAMPS,
    START_OF_TRANSCRIPT,
    sample_texts,
    train_byte_pairs,
    train_word_pieces,
)

FRAMES_A_SECOND = 50
"""Positions of Whisper's encoder."""


def make_parts(family: Family, spec: ModelSpec, base: Parts | None, sample: Path | None) -> dict[str, bytes]:
    """The bundle of a model: from scratch where `base`, the files of another model's folder, is None.

    Raises TaskError.
    """
    owners = configuration.owners_fields(family, spec)
    fields = configuration.size_fields(family, spec) if base is None else configuration.base_fields(family, base)
    makers = {"vit": _images, "mobilenet_v2": _images, "whisper": _speech}
    maker = makers.get(family.architecture, _text)
    parts = maker(family, spec, fields, owners, base, sample)
    config = configuration.make(family, {**fields, **owners}, spec, owners)
    configuration.check_size(family, config, owners)
    return {CONFIG: configuration.write(family, config), **parts}


def _images(
    family: Family,
    spec: ModelSpec,
    fields: dict[str, Any],
    owners: Mapping[str, Any],
    base: Parts | None,
    sample: Path | None,  # makers are called alike
) -> dict[str, bytes]:
    size = integer(spec, "image_size")
    shape = spec.schema.image
    if size:
        height = width = size
    elif base is not None and "image_size" in fields:
        height, width = _pair(fields["image_size"])
    else:
        height, width = shape.height, shape.width
    if min(height, width) < 1:
        raise TaskError("TASK", f"{family.architecture} takes images, the data set has no column of images")
    fields["image_size"] = height if height == width else [height, width]
    # Grey images too: who loads the folder hands in colour, and pretrained models have three channels anyway.
    fields.setdefault("num_channels", 3)
    if family.architecture == "vit":
        if base is None:
            # About 50 to 200 patches: fewer say little, more cost their square.
            fields["patch_size"] = 4 if max(height, width) <= 40 else 8 if max(height, width) <= 112 else 16
        patch = _pair(owners.get("patch_size", fields.get("patch_size", 16)))[0]
        if min(height, width) < patch:
            raise TaskError("TASK", f"config.patch_size={patch} is larger than the images of {width} x {height} pixels")
    mean, deviation = _normalisation(base, fields["num_channels"])
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": fields["num_channels"] == 3,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": 2,  # bilinear, as training resizes
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": deviation,
    }
    return {PREPROCESSOR: to_json(preprocessor)}


def _text(
    family: Family,
    spec: ModelSpec,
    fields: dict[str, Any],
    owners: Mapping[str, Any],
    base: Parts | None,
    sample: Path | None,
) -> dict[str, bytes]:
    length, vocab_size = integer(spec, "max_length"), integer(spec, "vocab_size")
    if base is None:
        _make_room(family, fields, length)
    _check_length(family, {**_defaults(family), **fields, **owners}, length)
    if base is not None:
        parts = base_tokenizer(family.architecture, base, length)
    elif family.architecture == "gpt2":
        parts = train_byte_pairs(sample_texts(_given(sample), spec.schema), vocab_size, length, speech=False)
    else:
        parts = train_word_pieces(sample_texts(_given(sample), spec.schema), vocab_size, length)
    tokenizer = load_tokenizer(parts[TOKENIZER])
    _fit_vocabulary(family, fields, tokenizer, base)
    if family.architecture == "gpt2":
        if base is None:
            end = token_id(tokenizer, END_OF_TEXT)
            fields.update(bos_token_id=end, eos_token_id=end)
        end = fields.setdefault("eos_token_id", _defaults(family)["eos_token_id"])
        if not isinstance(end, int) or tokenizer.id_to_token(end) is None:
            raise TaskError("TASK", f"the base's config.json says eos_token_id {end}, its tokenizer has no such token")
        ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end)
        return {**parts, GENERATION: to_json(ends)}
    fields["pad_token_id"] = tokenizer.token_to_id("[PAD]") or 0
    return parts


def _speech(
    family: Family,
    spec: ModelSpec,
    fields: dict[str, Any],
    owners: Mapping[str, Any],
    base: Parts | None,
    sample: Path | None,
) -> dict[str, bytes]:
    length, vocab_size = integer(spec, "max_length"), integer(spec, "vocab_size")
    seconds = math.ceil(number(spec, "max_seconds"))
    heard = fields.get("max_source_positions", 30 * FRAMES_A_SECOND) if base is not None else math.inf
    if seconds * FRAMES_A_SECOND > heard:
        raise TaskError("TASK", f"max_seconds={seconds} is more than the {heard / FRAMES_A_SECOND:g} s the base hears")
    fields["max_source_positions"] = seconds * FRAMES_A_SECOND
    if owners.get("max_source_positions", fields["max_source_positions"]) != fields["max_source_positions"]:
        raise TaskError(
            "TASK",
            f"config.max_source_positions={owners['max_source_positions']} is not {FRAMES_A_SECOND} a second of "
            f"max_seconds={seconds}: leave it out",
        )
    if base is None:
        _make_room(family, fields, length)
    _check_length(family, {**_defaults(family), **fields, **owners}, length)
    if base is None:
        parts = train_byte_pairs(sample_texts(_given(sample), spec.schema), vocab_size, length, speech=True)
    else:
        parts = base_tokenizer(family.architecture, base, length)
    tokenizer = load_tokenizer(parts[TOKENIZER])
    _fit_vocabulary(family, fields, tokenizer, base)
    end, start = token_id(tokenizer, END_OF_TEXT), token_id(tokenizer, START_OF_TRANSCRIPT)
    if tokenizer.encode("").ids[:1] != [start]:
        raise TaskError("TASK", f"the base's tokenizer does not begin a text with {START_OF_TRANSCRIPT}")
    fields.update(eos_token_id=end, decoder_start_token_id=start, begin_suppress_tokens=None)
    if base is None:
        fields.update(bos_token_id=end, pad_token_id=end)
    mels = {**_defaults(family), **fields, **owners}["num_mel_bins"]
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": mels,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": seconds,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    generation = {
        # What training put before every text: a generation begins the same way.
        "is_multilingual": False,
        "no_timestamps_token_id": tokenizer.token_to_id(NO_TIMESTAMPS),
        "return_timestamps": False,
        "decoder_start_token_id": start,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "max_length": length,
    }
    known = {name: value for name, value in generation.items() if value is not None}
    return {**parts, PREPROCESSOR: to_json(features), GENERATION: to_json(known)}


def _defaults(family: Family) -> dict[str, Any]:
    return {name: field.default for name, field in configuration.fields_of(family).items()}


def _make_room(family: Family, fields: dict[str, Any], length: int) -> None:
    usual = fields.get(family.positions, _defaults(family)[family.positions])
    fields[family.positions] = max(usual, length)


def _check_length(family: Family, fields: Mapping[str, Any], length: int) -> None:
    limit = fields[family.positions]
    if length > limit:
        raise TaskError("TASK", f"max_length={length} is more than the {limit} tokens that the model reads: lower it")


def _fit_vocabulary(family: Family, fields: dict[str, Any], tokenizer: Any, base: Parts | None) -> None:
    size = 1 + max(tokenizer.get_vocab().values(), default=0)
    if base is None:
        fields["vocab_size"] = size
    elif size > {**_defaults(family), **fields}["vocab_size"]:
        raise TaskError("TASK", f"the base's tokenizer has {size} tokens, its config.json knows fewer: vocab_size")


def _normalisation(base: Parts | None, channels: int) -> tuple[list[float], list[float]]:
    """What pixels from 0 to 1 are normalised with: the base's, else to between -1 and 1."""
    settings = from_json(base, PREPROCESSOR) if base is not None else {}
    if settings.get("do_normalize") is False:
        return [0.0] * channels, [1.0] * channels
    found = []
    for name in ("image_mean", "image_std"):
        values = settings.get(name)
        if not isinstance(values, list) or len(values) != channels:
            values = [0.5] * channels
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            raise TaskError("TASK", f"the base's preprocessor_config.json has an {name} that is no list of numbers")
        found.append([float(value) for value in values])
    if not all(value > 0 for value in found[1]):
        raise TaskError("TASK", "the base's preprocessor_config.json has an image_std that is not positive")
    return found[0], found[1]


def _pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, (list, tuple)) and len(size) == 2 else (size, size)
    return int(height), int(width)


def _given(sample: Path | None) -> Path:
    if sample is None:
        raise TaskError("TASK", "there is no sample to train a tokenizer on: prepare the data set again")
    return sample
