"""`trainnet catalog`: what can be trained, on which data, and with which knobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import architecture_facts
from trainnet.cli._output import AsJson, print_facts, print_json, print_table, short_count

if TYPE_CHECKING:
    from trainnet.client import Architecture, Hyperparameter

_TYPES = {
    "integer": "integer",
    "float": "number",
    "boolean": "true | false",
    "integer_list": "integers, as in 64,32",
    "string": "text",
}
_TITLES = {
    "model": "model",
    "training": "training",
    "LoRA": "LoRA: train a small adapter in place of all weights",
    "configuration": "configuration: what is not set is decided by the size, or by the base",
}


def catalog(
    context: typer.Context,
    architecture: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this one, with its sizes and hyperparameters.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures, or show one with the hyperparameters that `train --set NAME=VALUE` takes."""
    client = connect(context)
    if architecture is not None:
        found = client.architectures.get(architecture)
        if as_json:
            print_json({"architectures": [architecture_facts(found)]})
        else:
            _show(found)
        return
    every = client.catalog()
    if as_json:
        print_json({"architectures": [architecture_facts(item) for item in every]})
        return
    print_table(
        ["architecture", "task", "data", "sizes", ""],
        (
            (item.name, _words(item.task), _words(item.data), ", ".join(_sizes(item)), item.description)
            for item in every
        ),
        empty="the catalogue is empty",
        drop_empty=True,
    )
    print("\n`trainnet catalog NAME` shows one with its hyperparameters")


def _show(found: Architecture) -> None:
    print(found.description)
    print()
    print_facts(
        {
            "architecture": found.name,
            "task": _words(found.task),
            "data": "none" if found.data == "none" else _words(found.data),
            "starts from": "scratch, or --base" if found.takes_base else "scratch",
        }
    )
    if found.sizes:
        print()
        print_table(
            ["size", ">parameters", ""],
            (
                (item.name, short_count(item.parameters) if item.parameters else "", item.description)
                for item in found.sizes
            ),
            empty="",
        )
    for group, knobs in found.groups.items():
        print(f"\n{_TITLES[group]}")
        print_table(
            ["  --set", ">default", "what it takes", "what it does"],
            ((f"  {knob.name}", _shown(knob.default), _takes(knob), knob.description) for knob in knobs),
            empty="",
            drop_empty=True,
        )
    if not found.hyperparameters:
        print("\nno hyperparameters")


def _sizes(found: Architecture) -> list[str]:
    return [f"{item.name} {short_count(item.parameters)}" if item.parameters else item.name for item in found.sizes]


def _takes(knob: Hyperparameter) -> str:
    """What a value must be, in few words: `integer, 1 to 64`, `sgd | adamw`."""
    if knob.type == "choice":
        return " | ".join(knob.choices)
    span = [f"{bound:.15g}" for bound in (knob.minimum, knob.maximum) if bound is not None]
    if len(span) == 2:
        return f"{_TYPES.get(knob.type, knob.type)}, {span[0]} to {span[1]}"
    return _TYPES.get(knob.type, knob.type)


def _words(name: str) -> str:
    return "" if name in ("none", "unknown") else name.replace("_", " ")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)
