"""`trainnet catalog`: what can be trained, and with which knobs."""

from __future__ import annotations

from typing import Annotated

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import architecture_facts
from trainnet.cli._output import AsJson, print_json, print_table


def catalog(
    context: typer.Context,
    architecture: Annotated[str | None, typer.Argument(help="Show the hyperparameters of this one only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures and their hyperparameters, which `train --set NAME=VALUE` takes."""
    from trainnet.client import expected_value

    client = connect(context)
    found = client.architectures.list() if architecture is None else [client.architectures.get(architecture)]
    if as_json:
        print_json({"architectures": [architecture_facts(item) for item in found]})
        return
    for index, item in enumerate(found):
        if index:
            print()
        takes = "no data" if item.data == "none" else f"{item.data} data"
        print(f"{item.name} ({takes}): {item.description}")
        print_table(
            ["  --set", ">default", "what it takes", "what it does"],
            (
                (f"  {knob.name}", _shown(knob.default), expected_value(knob), knob.description)
                for knob in item.hyperparameters
            ),
            empty="  no hyperparameters",
        )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)
