"""`trainnet bench attacks`: what each merge rule makes of hostile workers, by real training.

25 workers, 5 of them hostile, train a small network on pictures that the honest ones share unevenly, Dirichlet(0.1);
every round is merged by the aggregator's own engine. docs/robustness.md has the whole table, and says what it tells.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainnet.coordinator.domain.rules import NUMBERS
from trainnet.local.bench import choices
from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail

ROUNDS, QUICK_ROUNDS = 300, 30


def attacks(
    rules: Annotated[str, typer.Option(help="Rules, with commas between.", show_default="all")] = "",
    attacks: Annotated[str, typer.Option(help="Attacks, with commas between.", show_default="all")] = "",
    bucketing: Annotated[str, typer.Option(help="Sizes of the buckets.", show_default="1,2")] = "",
    momentum: Annotated[str, typer.Option(help="Momenta of the workers.", show_default="0,0.9")] = "",
    rounds: Annotated[
        int | None, typer.Option(min=10, max=100_000, help="Rounds of each training.", show_default=str(ROUNDS))
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each cell, seeded from 1 on.")] = 1,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=10, help="Of all workers, at first.")] = 0.8,
    split: Annotated[
        str, typer.Option(help="How honest workers share the pictures: sorted, dirichlet or iid.")
    ] = "dirichlet",
    data: Annotated[str, typer.Option(help="fashion (Fashion-MNIST), or mnist (5,000 digits).")] = "fashion",
    data_dir: Annotated[
        Path | None, typer.Option(help="A folder with Fashion-MNIST's idx files.", show_default="Debian's package")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A number of the rules that have it; may be repeated."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few short trainings, to see that it works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each training on stdout.")] = False,
) -> None:
    """Train under attack with every merge rule, and tell the accuracy."""
    from trainnet.local.bench.robustness import pictures, table  # torch takes its time
    from trainnet.local.bench.robustness.attackers import ATTACKS
    from trainnet.local.bench.robustness.training import Setting

    console, found = Console(stderr=True, highlight=False), []
    try:
        wanted = table.cells(
            choices.names("--rules", rules, ("mean", "centered_clipping") if quick and not rules else table.RULES),
            choices.numbers("--bucketing", bucketing, int, [2] if quick else [1, 2]),
            choices.numbers("--momentum", momentum, float, [0.9] if quick else [0.0, 0.9]),
            choices.names("--attacks", attacks, ("none", "bit_flip") if quick and not attacks else ATTACKS),
            seeds,
        )
        given = choices.settings("--set", set_ or [], NUMBERS)
        with console.status("reading the pictures") as status:
            read = pictures.read(data, data_dir)
            setting = Setting(read, split, rounds or (QUICK_ROUNDS if quick else ROUNDS), learning_rate)
            for row in table.run(wanted, given, setting, status.update):
                found.append(row)
                if as_json:
                    print(json.dumps(row.as_json()), flush=True)
    except LocalError as error:
        fail(error)
    if not as_json:
        Console(highlight=False).print(table.table(found))
