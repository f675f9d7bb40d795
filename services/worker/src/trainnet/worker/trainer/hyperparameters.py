"""Hyperparameters of a ModelSpec. The coordinator has completed and checked them; what is missing here is a defect."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Value

from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.errors import TaskError


def number(model: ModelSpec, name: str, default: float | None = None) -> float:
    """A number; `default` stands for one that is not there. Raises TaskError."""
    if default is not None and name not in model.hyperparameters.fields:
        return default
    value = _value(model, name)
    if value.WhichOneof("kind") != "number_value":
        raise _wrong(name, "a number")
    return value.number_value


def integer(model: ModelSpec, name: str, default: int | None = None) -> int:
    """A whole number; `default` stands for one that is not there. Raises TaskError."""
    if default is not None and name not in model.hyperparameters.fields:
        return default
    return _whole(_value(model, name), name)


def integers(model: ModelSpec, name: str) -> list[int]:
    """A list of whole numbers. Raises TaskError."""
    value = _value(model, name)
    if value.WhichOneof("kind") != "list_value":
        raise _wrong(name, "a list of whole numbers")
    return [_whole(item, name) for item in value.list_value.values]


def text(model: ModelSpec, name: str, default: str | None = None) -> str:
    """A word; `default` stands for one that is not there. Raises TaskError."""
    if default is not None and name not in model.hyperparameters.fields:
        return default
    value = _value(model, name)
    if value.WhichOneof("kind") != "string_value":
        raise _wrong(name, "a word")
    return value.string_value


def boolean(model: ModelSpec, name: str, *, default: bool) -> bool:
    """Yes or no; `default` stands for one that is not there. Raises TaskError."""
    if name not in model.hyperparameters.fields:
        return default
    value = _value(model, name)
    if value.WhichOneof("kind") != "bool_value":
        raise _wrong(name, "true or false")
    return value.bool_value


def _value(model: ModelSpec, name: str) -> Value:
    if name not in model.hyperparameters.fields:
        raise TaskError("TASK", f"{model.architecture} needs the hyperparameter {name}; set it with --set {name}=VALUE")
    return model.hyperparameters.fields[name]


def _whole(value: Value, name: str) -> int:
    if value.WhichOneof("kind") != "number_value" or value.number_value != int(value.number_value):
        raise _wrong(name, "a whole number")
    return int(value.number_value)


def _wrong(name: str, expected: str) -> TaskError:
    return TaskError("TASK", f"the hyperparameter {name} is not {expected}")
