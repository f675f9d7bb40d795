"""`trainnet models …`: models of one's own, for jobs to start from."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import model_facts
from trainnet.cli._output import AsJson, Yes, ago, confirm, print_facts, print_json, print_table, size

if TYPE_CHECKING:
    from trainnet.client import Model

app = typer.Typer(help="Upload models of your own, for `train --base` to start from.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Its name, with or without `models/`.")]


@app.command()
def upload(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .safetensors file, or a folder that `save_pretrained` wrote."),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it.", show_default="the name of file or folder")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload weights. Of a folder: configuration, safetensors, tokenizer and preprocessing, nothing else.

    After a break the same command goes on where it stopped.
    """
    from trainnet.cli._transfer import TransferDisplay

    with TransferDisplay() as display:
        model = connect(context).upload_model(path, name, progress=display.transfer)
    if as_json:
        print_json(model_facts(model))
        return
    _print(model)
    print(f"`trainnet train DATA --architecture … --base {model.name}` starts from it")


@app.command("list")
def list_models(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Most to list, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List uploaded models, newest first."""
    found = list(islice(connect(context).models.list(), limit))
    if as_json:
        print_json({"models": [model_facts(model) for model in found]})
        return
    print_table(
        ["model", "name", "format", "state", ">size", "created"],
        (
            (
                model.name.removeprefix("models/"),
                model.display_name,
                model.format,
                str(model.state),
                size(model.size_bytes),
                ago(model.create_time),
            )
            for model in found
        ),
        empty="no models yet: `trainnet models upload FILE|FOLDER`",
    )


@app.command()
def show(context: typer.Context, model: Name, as_json: AsJson = False) -> None:
    """Show an uploaded model."""
    found = connect(context).models.get(model)
    if as_json:
        print_json(model_facts(found))
    else:
        _print(found)


@app.command()
def delete(context: typer.Context, model: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an uploaded model for good. Jobs that started from it stay, with their own models."""
    found = connect(context).models.get(model)
    confirm(f"Delete {found.name} ({found.display_name}, {size(found.size_bytes)}) for good?", yes=yes)
    found.delete()
    if as_json:
        print_json({"model": found.name, "deleted": True})
    else:
        print(f"deleted {found.name}")


def _print(model: Model) -> None:
    print_facts(
        {
            "model": model.name,
            "name": model.display_name,
            "state": str(model.state),
            "format": f"{model.format}, {size(model.size_bytes)}",
            "digest": model.digest,
            "created": ago(model.create_time),
        }
    )
