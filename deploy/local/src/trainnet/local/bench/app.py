"""The sub-commands of `trainnet bench`."""

import typer

from trainnet.local.bench.merge import merge
from trainnet.local.bench.prepare import prepare
from trainnet.local.bench.rounds import rounds

app = typer.Typer(help="Measure rounds, merges and preparation on this machine.", no_args_is_help=True)
app.command("rounds")(rounds)
app.command("merge")(merge)
app.command("prepare")(prepare)
