"""`trainnet bench job`: a whole training job beside the bare compute in it.

Fashion-MNIST, `cnn` with SGD 0.05, momentum 0.9 and batches of 64: 4 shards x 3 rounds x 1 epoch on four workers of one
thread. The job's time is from CreateJob, on a prepared data set, until SUCCEEDED, evaluations included. The bare
compute is the same number of steps by two processes of one thread each, with nothing around them.
"""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail


def job(
    data_dir: Annotated[
        Path | None, typer.Option(help="A folder with Fashion-MNIST's idx files.", show_default="Debian's package")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers, and shards.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of one epoch.")] = 3,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Processes of the bare compute.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Time a whole job on Fashion-MNIST, as a multiple of its bare compute."""
    from trainnet.local.bench.whole import measure  # torch takes its time

    console = Console(stderr=True, highlight=False)
    try:
        result = measure(console, data_dir, workers=workers, rounds=rounds, processes=processes)
    except LocalError as error:
        fail(error)
    if json:
        print(json_module.dumps(result))
        return
    out = Console(highlight=False)
    out.print(f"{result['wall_s']:.1f} s from CreateJob to SUCCEEDED; the data set was prepared in the job before it")
    out.print(f"{result['bare_s']:.1f} s for the same steps by {processes} bare processes")
    out.print(f"{result['ratio']:.3f} times the bare compute; accuracy {result['accuracy']:.4f}")
