"""`trainnet bench worker`: what the worker adds to a training, beside the loop that everybody writes.

One warm trainer process, driven over its own protocol as the agent does it, against a bare loop in a process of its
own: same shard, same tensors, same module, in turns. A task counts whole, from its command to its result: reading
the base weights, the loop, and writing the update.
"""

import asyncio
import json as json_module
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail
from trainnet.worker.errors import TaskError


def worker(
    architecture: Annotated[str, typer.Option(help="What to train: one of `trainnet catalog`, but noop.")] = "cnn",
    rows: Annotated[int, typer.Option(min=16, max=10**6, help="Rows of the generated shard.")] = 4096,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of either side.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each repeat takes, about.")] = 4.0,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Repeats of either side, in turns.")] = 7,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Samples a second inside the worker's trainer process, beside a bare torch loop on the same shard."""
    from trainnet.local.bench.turns import measure  # torch takes its time

    given = {name: _value(text) for name, _, text in (item.partition("=") for item in set_ or [])}
    console = Console(stderr=True, highlight=False)
    try:
        with tempfile.TemporaryDirectory(prefix="trainnet-bench-") as folder, console.status("training, in turns"):
            result = asyncio.run(
                measure(
                    Path(folder),
                    architecture,
                    rows=rows,
                    threads=threads,
                    seconds=seconds,
                    repeats=repeats,
                    given=given,
                )
            )
    except LocalError as error:
        fail(error)
    except TaskError as error:
        fail(LocalError(f"the worker cannot do this: {error.message}"))
    if json:
        print(json_module.dumps(result))
        return
    out = Console(highlight=False)
    out.print(
        f"{architecture}: {result['samples_per_s']:,.0f} samples/s in the worker, {result['bare_samples_per_s']:,.0f} "
        f"in the bare loop: {result['ratio']:.3f} of it (median of {repeats})"
    )


def _value(text: str) -> object:
    """A number, a list or true as JSON has them; anything else is a word."""
    try:
        return json_module.loads(text)
    except ValueError:
        return text
