"""Hyperparameters against the catalogue, before anything is uploaded or created.

The coordinator judges again; here a person hears at once which name is misspelt and which range holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainnet.client._architectures import Architecture, Hyperparameter
from trainnet.client._errors import FieldViolation, InvalidArgument
from trainnet.client._nearest import nearest

_TYPES = {
    "integer": "a whole number",
    "float": "a number",
    "choice": "one of its choices",
    "boolean": "true or false",
    "integer_list": "a list of whole numbers",
    "string": "a text",
}
_NOTHING = ("null", "none")
"""What a person types for no value, where one may be left to the architecture's size or its base."""
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_hyperparameters(architecture: Architecture, texts: Mapping[str, str]) -> dict[str, Any]:
    """Values of the right types from what a person typed. Raises InvalidArgument that names the field."""
    values = {name: _parse(_find(architecture, name), text.strip()) for name, text in texts.items()}
    check_hyperparameters(architecture, values)
    return values


def check_hyperparameters(architecture: Architecture, values: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a name that the architecture does not have, or a value out of type or range."""
    for name, value in values.items():
        knob = _find(architecture, name)
        if not _is(knob, value):
            raise _invalid(name, f"{_shown(value)} is not {expected_value(knob)}")


def expected_value(knob: Hyperparameter) -> str:
    """What a value must be, for people: `a number from 0 to 1`, `one of relu, gelu`."""
    if knob.type == "choice":
        return f"one of {', '.join(knob.choices)}"
    text = _TYPES.get(knob.type, knob.type)
    if knob.minimum is not None and knob.maximum is not None:
        text += f" from {_bound(knob.minimum)} to {_bound(knob.maximum)}"
    elif knob.minimum is not None:
        text += f" of at least {_bound(knob.minimum)}"
    elif knob.maximum is not None:
        text += f" of at most {_bound(knob.maximum)}"
    return f"{text}, such as 64,32" if knob.type == "integer_list" else text


def _bound(value: float) -> str:
    """No exponent for what can be read without one."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def _find(architecture: Architecture, name: str) -> Hyperparameter:
    for knob in architecture.hyperparameters:
        if knob.name == name:
            return knob
    names = [knob.name for knob in architecture.hyperparameters]
    raise _invalid(
        name, f"{architecture.name} has no such hyperparameter", nearest(name, names, f"those of {architecture.name}")
    )


def _parse(knob: Hyperparameter, text: str) -> Any:
    if knob.default is None and text.lower() in _NOTHING:
        return None
    try:
        if knob.type == "integer":
            return int(text)
        if knob.type == "float":
            return float(text)
        if knob.type == "boolean":
            return _TRUTHS[text.lower()]
        if knob.type == "integer_list":
            return [int(item) for item in text.strip("[]").split(",") if item.strip()]
    except (ValueError, KeyError):
        raise _invalid(knob.name, f"{text!r} is not {expected_value(knob)}") from None
    return text


def _is(knob: Hyperparameter, value: Any) -> bool:
    if value is None:
        return knob.default is None
    if knob.type == "choice":
        return value in knob.choices
    if knob.type == "boolean":
        return isinstance(value, bool)
    if knob.type == "integer_list":
        return isinstance(value, list | tuple) and all(_whole(item) and _within(knob, item) for item in value)
    if knob.type == "integer":
        return _whole(value) and _within(knob, value)
    if knob.type == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and _within(knob, value)
    if knob.type == "string":
        return isinstance(value, str)
    return True  # a type that this client does not know yet: the coordinator judges


def _whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _within(knob: Hyperparameter, value: float) -> bool:
    # Written so that NaN is within nothing.
    low = float("-inf") if knob.minimum is None else knob.minimum
    high = float("inf") if knob.maximum is None else knob.maximum
    return low <= value <= high and value not in (float("inf"), float("-inf"))


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _invalid(name: str, message: str, hint: str = "") -> InvalidArgument:
    field = f"spec.hyperparameters.{name}"
    return InvalidArgument(f"{name}: {message}", violations=(FieldViolation(field, message),), hint=hint)
