"""The sub-commands of `trainnet bench`."""

from importlib import import_module
from importlib.util import find_spec

import typer

from trainnet.local.bench.merge import merge

app = typer.Typer(help="Measure rounds and merges on this machine.", no_args_is_help=True)
app.command("merge")(merge)
if find_spec("trainnet.local.bench.rounds") is not None:
    app.command("rounds")(import_module("trainnet.local.bench.rounds").rounds)


@app.callback()
def _group() -> None:
    """Keeps each command's name even while there is only one."""
