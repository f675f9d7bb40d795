"""`trainnet worker …`: a volunteer's commands. They talk to the agent over its socket in the data directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from trainnet.runtime.lifecycle import EXIT_SETTINGS
from trainnet.runtime.settings import SettingsError
from trainnet.worker.agent import control
from trainnet.worker.agent.storage import AgentFolder
from trainnet.worker.errors import AgentError
from trainnet.worker.settings import WorkerSettings, default_data_dir

app = typer.Typer(
    name="worker",
    help="Lend this computer to TrainNet: join, look, pause, leave.",
    no_args_is_help=True,
    add_completion=False,
)

FIRST_CONTACT_SECONDS = 15.0
EXIT_NOT_RUNNING = 4

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        envvar="TRAINNET_DATA_DIR",
        help="The worker's folder: who it is, its cache.",
        show_default=str(default_data_dir()),
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]


EXAMPLES = "\n\n".join(
    (
        "Examples:",
        "trainnet worker join train.example.org:7700 --token TOKEN",
        "trainnet worker join train.example.org:7700 --max-threads 2 --max-memory 4GB --max-bandwidth 2MB/s",
    )
)


@app.command(epilog=EXAMPLES)
def join(
    address: Annotated[
        str, typer.Argument(help="HOST:PORT of the coordinator, which its operator tells.", metavar="ADDRESS")
    ],
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TRAINNET_JOIN_TOKEN", help="Join token, which the operator gives; needed the first time only."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What people call this machine.", show_default="its host name")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Tasks at the same time.", show_default="one for each GPU, or 1")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--max-threads",
            "--threads",
            metavar="N",
            help="Most threads of each slot.",
            show_default="the cores, shared",
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Most memory that training may take, all slots together, like 8GB; a task that needs more fails.",
            show_default="no limit",
        ),
    ] = None,
    max_disk: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Most disk for downloads and what is made of them, like 10GB.", show_default="10GB"
        ),
    ] = None,
    max_bandwidth: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Most that downloads and uploads may take together: bytes a second like 2MB/s, or bits like 16Mbit/s.",
            show_default="no limit",
        ),
    ] = None,
    data: DataOption = None,
    paused: Annotated[bool, typer.Option("--pause", help="Join without taking work yet.")] = False,
) -> None:
    """Join a coordinator and work for it until Ctrl-C. Later the same machine joins again without a token."""
    given = {
        "coordinator": address,
        "join_token": token,
        "name": name,
        "slots": slots,
        "threads": threads,
        "max_memory": max_memory,
        "max_disk": max_disk,
        "max_bandwidth": max_bandwidth,
        "data_dir": data,
    }
    try:
        settings = WorkerSettings.load(**{key: value for key, value in given.items() if value is not None})
    except SettingsError as error:
        for line in error.problems:
            print(f"worker: {_as_typed(line, given)}", file=sys.stderr)
        raise typer.Exit(EXIT_SETTINGS) from None
    # Only now: the other commands have no use for the agent and its libraries.
    from trainnet.worker.app import run

    raise typer.Exit(run(settings, patience=FIRST_CONTACT_SECONDS, paused=paused))


def _as_typed(problem: str, given: dict[str, Any]) -> str:
    """A problem of the settings that names what stands on the command line instead of the variable for it."""
    options = {"coordinator": "ADDRESS", "join_token": "--token", "data_dir": "--data", "threads": "--max-threads"}
    for key, value in given.items():
        if value is not None:
            option = options.get(key, f"--{key.replace('_', '-')}")
            problem = problem.replace(f"TRAINNET_{key.upper()} is", f"{option} is")
    return problem


@app.command()
def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show what the worker does and what it has contributed."""
    _show(_ask(data, "status"), as_json=as_json)


@app.command()
def pause(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Finish what is held and take nothing new, until `resume`."""
    _show(_ask(data, "pause"), as_json=as_json)


@app.command()
def resume(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Take work again."""
    _show(_ask(data, "resume"), as_json=as_json)


@app.command()
def leave(data: DataOption = None) -> None:
    """Hand back what is held, stop, and delete the worker's identity and cache."""
    folder = data or default_data_dir()
    try:
        control.ask(folder, "leave")
    except control.AgentNotRunning:
        if not folder.is_dir():
            print(f"worker: there is no worker in {folder}", file=sys.stderr)
            raise typer.Exit(EXIT_NOT_RUNNING) from None
        _wipe(folder)
        typer.echo("left: identity and cache are deleted")
    else:
        typer.echo("leaving: the worker hands its tasks back, then deletes its identity and cache")


def _wipe(path: Path) -> None:
    try:
        folder = AgentFolder(path)
        folder.lock()
        folder.wipe()
        folder.unlock()
    except AgentError as error:
        print(f"worker: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


def _ask(data: Path | None, command: str) -> dict[str, Any]:
    folder = data or default_data_dir()
    try:
        return control.ask(folder, command)
    except control.AgentNotRunning as error:
        print(f"worker: {error}; start it with `trainnet worker join ADDRESS`", file=sys.stderr)
        raise typer.Exit(EXIT_NOT_RUNNING) from None


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(status))
        return
    console = Console()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    facts.add_row("worker", status["worker"] or "not registered")
    facts.add_row("coordinator", f"{status['coordinator']} ({_connection(status)})")
    facts.add_row("state", _state(status))
    facts.add_row("contributed", f"{status['accepted_updates']:,} updates, {status['accepted_examples']:,} examples")
    facts.add_row("limits", _limits(status))
    facts.add_row("cache", f"{status['cache_bytes'] / 1e6:,.0f} of {status['max_cache_bytes'] / 1e6:,.0f} MB")
    console.print(facts)
    if not status["tasks"]:
        return
    tasks = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("task", "job", "phase", "progress", "loss", "samples/s"):
        tasks.add_column(title)
    for task in status["tasks"]:
        total = task["total_steps"]
        tasks.add_row(
            task["kind"],
            task["job"],
            task["phase"],
            ProgressBar(total=total, completed=task["step"], width=24) if total else "",
            f"{task['loss']:.4f}" if task["loss"] else "",
            f"{task['samples_per_s']:,.0f}" if task["samples_per_s"] else "",
        )
    console.print(tasks)


def _connection(status: dict[str, Any]) -> str:
    if not status["connected"]:
        return "not connected, trying"
    return "connected" if status["doorbell"] else "connected; no NATS, so tasks come more slowly"


def _limits(status: dict[str, Any]) -> str:
    memory, rate = status["max_memory_bytes"], status["max_bandwidth_bytes_per_s"]
    slots, threads = status["slots"], status["threads_per_slot"]
    return ", ".join(
        (
            f"{slots} slot{'s' * (slots > 1)} of {threads} thread{'s' * (threads > 1)}",
            f"memory {memory / 1e9:.3g} GB" if memory else "any memory",
            f"bandwidth {rate / 1e6:.3g} MB/s" if rate else "any bandwidth",
        )
    )


def _state(status: dict[str, Any]) -> str:
    if status["stopping"]:
        return "stopping"
    if status["paused"]:
        return "paused" if not status["tasks"] else "paused, finishing what it holds"
    if not status["warm_slots"]:
        return "warming up"
    return "working" if status["tasks"] else "waiting for work"
