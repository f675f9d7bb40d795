"""`trainnet bench learning`: what strategies learn from shards, beside training in one place on the same budget.

Real data, the worker's own tasks and the aggregator's own merges, one after the other in this process. docs/learning.md
has the whole table, and says what it tells.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainnet.local.bench import choices
from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail

QUICK_STEPS = 4


def learning(
    tasks: Annotated[str, typer.Option(help="fashion, gpt.", show_default="both")] = "",
    splits: Annotated[str, typer.Option(help="iid, dirichlet.", show_default="both")] = "",
    strategies: Annotated[str, typer.Option(help="Strategies, with commas between.", show_default="all")] = "",
    local_steps: Annotated[
        str, typer.Option(help="Steps between two merges; all but DiLoCo take the fewest.", show_default="500,50")
    ] = "",
    steps: Annotated[
        int | None, typer.Option(min=2, help="Steps of each shard over all rounds.", show_default="the task's")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each kind, seeded from 1 on.")] = 3,
    data_dir: Annotated[
        Path | None, typer.Option(help="A folder with Fashion-MNIST's idx files.", show_default="Debian's package")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="A text to learn in place of the King James Bible.", dir_okay=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that it works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each training on stdout.")] = False,
) -> None:
    """Train real models by every strategy, and tell how far they get."""
    from trainnet.local.bench.learned import plan, table  # torch takes its time

    console, found = Console(stderr=True, highlight=False), []
    try:
        chosen = choices.names("--tasks", tasks, plan.TASKS)
        total = {name: steps or (QUICK_STEPS if quick else plan.TASKS[name].steps) for name in chosen}
        apart = choices.numbers("--local-steps", local_steps, int, [4, 2] if quick else [plan.LONG, plan.SHORT])
        for number in apart:
            if not 0 < number <= min(total.values()):
                raise LocalError(f"--local-steps: {number} is not between 1 and the {min(total.values())} steps in all")
        wanted = plan.runs(
            chosen,
            choices.names("--splits", splits, plan.SPLITS),
            choices.names("--strategies", strategies, plan.STRATEGIES),
            apart,
            1 if quick else seeds,
        )
        with console.status("preparing the data") as status:
            for row in table.run(wanted, total, data_dir, text, status.update):
                found.append(row)
                if as_json:
                    print(json.dumps(row.as_json()), flush=True)
    except LocalError as error:
        fail(error)
    if not as_json:
        Console(highlight=False).print(table.table(found))
