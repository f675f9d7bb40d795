"""The commands that the local stack brings to `trainnet` (entry points in the group trainnet.commands)."""

import dataclasses
import json
import os
import shlex
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from trainnet.local.bench.app import app as bench
from trainnet.local.demo.settings import ROUNDS as DEMO_ROUNDS
from trainnet.local.endpoints import Endpoints
from trainnet.local.errors import LocalError
from trainnet.local.signals import StopSignals
from trainnet.local.stack import LocalStack
from trainnet.local.terminal import fail

__all__ = ["bench", "demo", "up"]

Port = Annotated[int | None, typer.Option(min=1, max=65535, show_default="a free one, the same at the next start")]


def default_data_dir() -> Path:
    return Path(os.environ.get("TRAINNET_DATA") or "~/.local/share/trainnet").expanduser()


def up(
    data: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Where everything is kept; can be used again.",
            show_default="$TRAINNET_DATA or ~/.local/share/trainnet",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Workers to run.")] = 4,
    aggregators: Annotated[int, typer.Option(min=1, max=16, help="Aggregators to run.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Compute threads of each worker.")] = 1,
    keep_rounds: Annotated[int, typer.Option(min=1, help="Rounds whose weights and updates are kept.")] = 2,
    database: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="TRAINNET_DATABASE_URL",
            help="PostgreSQL database of the coordinator: postgresql://USER:PASSWORD@HOST/DATABASE.",
            show_default="a SQLite file in --data",
        ),
    ] = "",
    grpc_port: Port = None,
    nats_port: Port = None,
    s3_port: Port = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run all of TrainNet on this machine until Ctrl-C."""
    console = Console(stderr=True, highlight=False)
    stack = LocalStack(
        data or default_data_dir(),
        workers=workers,
        aggregators=aggregators,
        database=database,
        grpc_port=grpc_port,
        nats_port=nats_port,
        s3_port=s3_port,
        keep_rounds=keep_rounds,
        threads=threads,
        log_level=log_level,
        say=lambda line: console.print(line, style="yellow", soft_wrap=True),
    )
    began = time.monotonic()
    with StopSignals(stack):
        try:
            with console.status("starting"):
                stack.start()
            console.print(table(stack.endpoints, workers, aggregators, time.monotonic() - began))
            console.print(next_step(stack.endpoints.data_dir), markup=False, soft_wrap=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            console.print("stopping; Ctrl-C again kills")
        except LocalError as error:
            console.print(str(error), style="red", markup=False, soft_wrap=True)
            raise typer.Exit(1) from None
        finally:
            stack.stop()
    console.print("stopped")


def demo(
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write the result there too.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers, and shards of the data.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds to train.")] = DEMO_ROUNDS,
    keep: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the model, the images and the logs.", show_default="a new one"),
    ] = None,
) -> None:
    """Train a real model on four workers of this machine, and watch."""
    from trainnet.local.demo.run import Demo, Place

    console = Console(highlight=False)
    try:
        # Told now: a minute of training for a result that cannot be written would be a pity.
        if as_json is not None and not os.access(as_json.expanduser().absolute().parent, os.W_OK):
            raise LocalError(f"--json: {as_json} cannot be written, its folder is missing or not yours")
        place = Place(keep)
    except LocalError as error:
        fail(error)
    stack = LocalStack(
        place.stack, workers=workers, say=lambda line: console.print(line, style="yellow", soft_wrap=True)
    )
    with StopSignals(stack):
        try:
            outcome = Demo(stack, place, console, workers=workers, rounds=rounds).run()
            if as_json is not None:
                as_json.write_text(json.dumps(dataclasses.asdict(outcome)) + "\n", encoding="utf-8")
        except LocalError as error:
            fail(error)
        except KeyboardInterrupt:
            console.print("stopping; Ctrl-C again kills")
            stack.stop()
            place.give_up()
            raise
        finally:
            stack.stop()


def table(endpoints: Endpoints, workers: int, aggregators: int, seconds: float) -> Table:
    rows = Table(title=f"TrainNet is ready after {seconds:.1f} s", title_justify="left", show_header=False, box=None)
    rows.add_row("coordinator", endpoints.grpc, "gRPC")
    rows.add_row("messages", endpoints.nats, "NATS")
    rows.add_row("objects", endpoints.s3, "S3")
    rows.add_row("running", f"{_count(workers, 'worker')}, {_count(aggregators, 'aggregator')}", "")
    rows.add_row("data", endpoints.data_dir, "logs/ and endpoints.json are there")
    return rows


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def next_step(data_dir: str) -> str:
    """What to type next. Commands look into the default folder; of another one they must be told."""
    told = "" if Path(data_dir) == default_data_dir().absolute() else f"export TRAINNET_DATA={shlex.quote(data_dir)}; "
    return f"Ctrl-C stops all of it. In another terminal:\n  {told}trainnet train FILE --architecture mlp --wait"
