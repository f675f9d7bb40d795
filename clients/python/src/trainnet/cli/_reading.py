"""Options that say how a file or a folder is to be read, for every command that uploads one."""

from __future__ import annotations

from typing import Annotated

import typer

from trainnet.client import ConfigurationError

FILES = (
    "A .csv, .tsv, .json, .jsonl, .parquet, .zip or .txt file, or a folder with a folder of images or sound for each "
    "class."
)
SPLIT = "Column that says which rows are held out (test, validation, …); `-`: none."
_PANEL = "How a file or folder is read"

Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="COLUMN=KIND",
        help="What a column holds: text, categorical, numeric, image, audio, ignored, or auto; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Column to learn; `-`: none.",
        show_default="label, target, class, y, else the last",
        rich_help_panel=_PANEL,
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(help=SPLIT, show_default="split, where there is one", rich_help_panel=_PANEL),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="csv|json|jsonl|parquet|zip|text",
        help="How to read it.",
        show_default="by the suffix",
        rich_help_panel=_PANEL,
    ),
]


def parse_kinds(settings: list[str] | None) -> dict[str, str]:
    """COLUMN=KIND texts; a column's name may hold an equals sign. Raises ConfigurationError."""
    kinds = {}
    for setting in settings or []:
        column, equals, kind = setting.rpartition("=")
        if not equals or not column:
            raise ConfigurationError(f"--kind {setting!r}: needs a column and a kind", hint="write --kind age=numeric")
        kinds[column] = kind.strip().lower()
    return kinds
