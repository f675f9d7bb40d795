"""The sub-commands of `trainnet bench`."""

import typer

from trainnet.local.bench.attacks import attacks
from trainnet.local.bench.cells import cells
from trainnet.local.bench.codecs import codecs
from trainnet.local.bench.job import job
from trainnet.local.bench.learning import learning
from trainnet.local.bench.merge import merge
from trainnet.local.bench.prepare import prepare
from trainnet.local.bench.rounds import rounds
from trainnet.local.bench.worker import worker
from trainnet.runtime import log

app = typer.Typer(
    help="Measure rounds, merges, preparation and training on this machine, and what training comes to.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def quiet() -> None:
    """Keep what goes well in the end, such as a store that answers at the second try, out of the results on stdout."""
    log.configure("bench", level="error")


app.command("rounds")(rounds)
app.command("merge")(merge)
app.command("cells")(cells)
app.command("worker")(worker)
app.command("job")(job)
app.command("prepare")(prepare)
app.command("attacks")(attacks)
app.command("codecs")(codecs)
app.command("learning")(learning)
