"""How a command of the local stack ends when it cannot go on."""

from typing import NoReturn

import typer
from rich.console import Console

from trainnet.local.errors import LocalError


def fail(error: LocalError) -> NoReturn:
    """One clear line on stderr, exit code 1."""
    Console(stderr=True, highlight=False).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1) from None
