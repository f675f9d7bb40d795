"""The configuration of a transformers model: from a size or a base, with what the owner sets of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Value

from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.hyperparameters import text
from trainnet.worker.trainer.models.bundle import CONFIG, Parts, from_json, to_json
from trainnet.worker.trainer.models.families import Family

PREFIX = "config."
LABELS = ("id2label", "label2id")
# What the tokenizer, the data or the architecture decide; the owner sets the rest.
OURS = frozenset(
    (
        "vocab_size",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "decoder_start_token_id",
        "image_size",
        "num_channels",
        "is_decoder",
        "is_encoder_decoder",
        "add_cross_attention",
        "use_cache",
    )
)
_LARGEST = 10_000_000
_DEEPEST = 1_024
_MOST_PARAMETERS = 8_000_000_000
_SCALAR_WORDS = ("int", "float", "bool", "str")


def fields_of(family: Family) -> dict[str, dataclasses.Field[Any]]:
    """The fields that a family's configuration has of its own."""
    from transformers import PreTrainedConfig

    shared = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return {field.name: field for field in dataclasses.fields(family.configuration_class()) if field.name not in shared}


def owners_fields(family: Family, spec: ModelSpec) -> dict[str, Any]:
    """What the hyperparameters `config.…` set. Raises TaskError naming the one that is missing or wrong."""
    found = {}
    for name, field in fields_of(family).items():
        kinds = _kinds(field)
        if name in OURS or not kinds:
            continue
        key = PREFIX + name
        if key not in spec.hyperparameters.fields:
            raise TaskError("TASK", f"{spec.architecture} needs the hyperparameter {key}; null leaves it to the size")
        value = _plain(spec.hyperparameters.fields[key], kinds, key)
        if value is not None:
            found[name] = value
    return found


def size_fields(family: Family, spec: ModelSpec) -> dict[str, Any]:
    """What `size` means. Raises TaskError."""
    size = text(spec, "size")
    if size not in family.sizes:
        raise TaskError("TASK", f"the hyperparameter size is {size!r}, none of {', '.join(family.sizes)}")
    return dict(family.sizes[size])


def base_fields(family: Family, parts: Parts) -> dict[str, Any]:
    """The fields of somebody's config.json, the known ones: what else stands there could make transformers fetch code.

    Raises TaskError where it is another model's.
    """
    content = from_json(parts, CONFIG)
    kind = content.get("model_type")
    if kind != family.architecture:
        raise TaskError(
            "TASK", f"the base's config.json says model_type {kind!r}, the architecture is {family.architecture!r}"
        )
    known = fields_of(family)
    fields = {name: content[name] for name in known if content.get(name) is not None}
    for name, value in fields.items():
        if not _is_of(value, known[name]):
            raise TaskError("TASK", f"the base's config.json: {name} is {str(value)[:50]!r}, of the wrong type")
        _check_sane(f"the base's config.json: {name}", name, value)
    return fields


def make(family: Family, fields: Mapping[str, Any], spec: ModelSpec, owners: Mapping[str, Any]) -> Any:
    """A configuration object. Raises TaskError naming the owner's fields where they do not go together."""
    try:
        return family.configuration_class()(**fields, **labels(spec))
    except Exception as error:  # transformers checks by whatever comes to hand
        raise unfit(family, owners, error) from error


def check_size(family: Family, config: Any, owners: Mapping[str, Any]) -> None:
    """Builds the model without memory. Raises TaskError where it cannot be built or nobody could train it."""
    import torch

    try:
        with torch.device("meta"):
            module = family.model_class()(config)
    except Exception as error:  # as above
        raise unfit(family, owners, error) from error
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters > _MOST_PARAMETERS:
        raise TaskError(
            "TASK", f"the configuration makes {parameters / 1e9:.1f} billion parameters, at most 8 are taken"
        )


def labels(spec: ModelSpec) -> dict[str, Any]:
    """`id2label` and `label2id` of the schema's classes; nothing where there are none."""
    names = [item.name for item in spec.schema.classes]
    if not names:
        return {}
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def unfit(family: Family, owners: Mapping[str, Any], error: Exception) -> TaskError:
    """What transformers said about fields that do not go together, with the owner's that may be at fault."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    named = [name for name in owners if name in said] or list(owners)
    if named:
        given = ", ".join(f"{PREFIX}{name}={owners[name]}" for name in named)
        return TaskError("TASK", f"{given} makes no {family.architecture}: {said}")
    return TaskError("TASK", f"the configuration makes no {family.architecture}: {said}")


def write(family: Family, config: Any) -> bytes:
    """config.json in full, so that another version's defaults change nothing."""
    content = json.loads(config.to_json_string(use_diff=False))
    content["architectures"] = [family.model]
    # Paths and versions of the machine that wrote it are nobody's business, and would change its bytes.
    for name in ("_name_or_path", "dtype", "torch_dtype"):
        content.pop(name, None)
    return to_json(content)


def read(family: Family, parts: Parts) -> Any:
    """The reverse of write. Raises TaskError."""
    content = from_json(parts, CONFIG)
    fields = base_fields(family, parts)
    known = {name: content[name] for name in (*LABELS, *fields_of(family)) if name in content and name not in fields}
    try:
        return family.configuration_class()(**fields, **known)
    except Exception as error:  # as above
        raise TaskError("TASK", f"config.json makes no {family.architecture}: {error}") from error


def _kinds(field: dataclasses.Field[Any]) -> frozenset[str]:
    """Which of int, float, bool and str a field takes; empty for lists alone."""
    kind = field.type
    words = {part.strip() for part in (kind if isinstance(kind, str) else _name(kind)).split("|")}
    return frozenset(words & set(_SCALAR_WORDS))


def _is_of(value: Any, field: dataclasses.Field[Any]) -> bool:
    kinds = _kinds(field)
    match value:
        case bool():
            return "bool" in kinds
        case int():
            return bool({"int", "float"} & kinds)
        case float():
            return "float" in kinds
        case str():
            return "str" in kinds
        case list():
            return "list" in str(field.type) and all(isinstance(item, int) for item in value)
    return False


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _plain(value: Value, kinds: frozenset[str], key: str) -> Any:
    match value.WhichOneof("kind"):
        case "null_value" | None:
            return None
        case "bool_value" if "bool" in kinds:
            return value.bool_value
        case "string_value" if "str" in kinds:
            return value.string_value
        case "number_value" if "float" in kinds:
            return value.number_value
        case "number_value" if "int" in kinds and value.number_value == int(value.number_value):
            _check_sane(f"the hyperparameter {key}", key, int(value.number_value))
            return int(value.number_value)
    expected = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}
    wanted = next(said for kind, said in reversed(expected.items()) if kind in kinds)
    raise TaskError("TASK", f"the hyperparameter {key} is not {wanted}")


def _check_sane(what: str, name: str, value: Any) -> None:
    numbers = value if isinstance(value, list) else [value]
    limit = _DEEPEST if "layers" in name or name.endswith("n_layer") else _LARGEST
    for number in numbers:
        if isinstance(number, (int, float)) and not abs(number) <= limit:
            raise TaskError("TASK", f"{what} is {number}: no model has more than {limit}")
