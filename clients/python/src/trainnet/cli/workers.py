"""`trainnet workers …`: who lends machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import worker_facts
from trainnet.cli._output import AsJson, ago, print_json, print_table

if TYPE_CHECKING:
    from trainnet.client import Worker

app = typer.Typer(help="See who lends machines.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `list` a command of its own while it is the only one."""


@app.command("list")
def list_workers(context: typer.Context, as_json: AsJson = False) -> None:
    """List the workers, newest first."""
    found = list(connect(context).workers.list())
    if as_json:
        print_json({"workers": [worker_facts(worker) for worker in found]})
        return
    print_table(
        ["worker", "name", "pool", "state", ">busy", ">updates", ">rows", "seen", ""],
        (
            (
                worker.name.removeprefix("workers/"),
                worker.display_name,
                worker.pool,
                _state(worker),
                f"{worker.busy}/{worker.slots}",
                f"{worker.accepted_updates:,}",
                f"{worker.accepted_examples:,}",
                "now" if worker.online else ago(worker.seen_time),
                worker.device,
            )
            for worker in found
        ),
        empty="no workers yet: `trainnet worker join ADDRESS --token …` on the machine that lends itself",
    )


def _state(worker: Worker) -> str:
    if worker.banned:
        return "banned"
    if not worker.online:
        return "offline"
    return "paused" if worker.paused else "online"
