"""The command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trainnet.worker.predict.results import Prediction

EXIT_WRONG = 2


def predict(
    folder: Annotated[Path, typer.Argument(help="Folder of a model, as `trainnet jobs download` writes it.")],
    given: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A CSV, JSON, JSONL or Parquet file, an image or a sound or a folder of them, a text or a file of it.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to show, likeliest first.")] = 1,
    column: Annotated[
        str, typer.Option(metavar="NAME", help="Column of a table to read.", show_default="the one of the right kind")
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens that a language model adds, at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Run a downloaded model on data."""
    # Only now: help must not wait for torch.
    import torch

    from trainnet.worker.errors import WorkerError
    from trainnet.worker.predict.predictors import load

    try:
        with torch.inference_mode():
            found = load(folder, max_tokens).predict(given, column)
            if as_json:
                typer.echo(json.dumps({"predictions": [_object(item, top) for item in found]}, ensure_ascii=False))
            else:
                _print(found, top)
    except WorkerError as error:
        print(f"predict: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_WRONG) from None


def _object(item: Prediction, top: int) -> dict[str, object]:
    if not item.classes:
        return {"input": item.name, "text": item.text}
    shown = [{"label": label, "probability": probability} for label, probability in item.classes[:top]]
    return {"input": item.name, **shown[0], "top": shown}


def _print(found: Iterable[Prediction], top: int) -> None:
    for item in found:
        if item.classes:
            said = "  ".join(f"{label} {probability:.1%}" for label, probability in item.classes[:top])
        else:
            said = item.text
        typer.echo(f"{item.name}\t{said}" if item.name else said)
