"""`trainnet`: the command line of owners, volunteers and operators."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from trainnet.cli import _failures, catalog, datasets, jobs, models, train, workers
from trainnet.cli._context import Globals
from trainnet.cli._plugins import Root
from trainnet.client import TrainNetError

app = typer.Typer(
    cls=Root,
    help="Train models on other people's idle machines, or lend yours.",
    epilog=_failures.EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("train", epilog=train.EXAMPLES)(train.train)
app.add_typer(jobs.app, name="jobs")
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(workers.app, name="workers")
app.command("catalog")(catalog.catalog)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"trainnet {version('trainnet')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(
            help="Coordinator, host:port or https://host:port.",
            show_default="$TRAINNET_COORDINATOR, else the stack of this machine",
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Token to show it.", show_default="$TRAINNET_TOKEN, else the stack's")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = Globals(address, token)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(_failures.USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and answers its exit code. Prints one line on stderr for whatever goes wrong."""
    try:
        answer = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments), prog_name="trainnet", standalone_mode=False
        )
    except TrainNetError as error:
        return _failures.explain(error)
    except typer.TyperException as error:
        return _failures.explain_usage(error)
    except (typer.Abort, KeyboardInterrupt) as error:
        return _failures.explain_interrupt(str(error))
    except Exception as error:  # noqa: BLE001 - never a traceback for a user
        return _failures.explain_bug(error)
    if answer == _failures.INTERRUPTED:  # what typer makes of Ctrl-C
        return _failures.explain_interrupt()
    return answer if isinstance(answer, int) else 0


if __name__ == "__main__":
    sys.exit(main())
