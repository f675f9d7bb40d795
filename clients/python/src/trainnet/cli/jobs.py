"""`trainnet jobs …`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import job_facts
from trainnet.cli._output import AsJson, Yes, ago, confirm, count, number, print_facts, print_json, print_table, span
from trainnet.cli.verify import verify
from trainnet.client import JobFailed, TrainNetError

if TYPE_CHECKING:
    from trainnet.client import Job, Round

app = typer.Typer(help="Watch jobs, take their models, check their merges.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="JOB", help="Its name, with or without `jobs/`.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Most to list, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    found = list(islice(connect(context).jobs.list(), limit))
    if as_json:
        print_json({"jobs": [job_facts(job, rounds=False) for job in found]})
        return
    print_table(
        ["job", "name", "architecture", "state", ">rounds", ">accuracy", ">loss", "created", ""],
        (
            (
                job.id,
                job.display_name,
                job.architecture,
                str(job.state),
                f"{job.merged_rounds}/{job.total_rounds}",
                number(job.metrics.get("accuracy")),
                number(job.metrics.get("loss")),
                ago(job.create_time),
                job.message,
            )
            for job in found
        ),
        empty="no jobs yet: `trainnet train FILE --architecture …`",
    )


@app.command()
def show(context: typer.Context, job: Name, as_json: AsJson = False) -> None:
    """Show a job, why it waits, and what each round decided."""
    found = connect(context).jobs.get(job)
    if as_json:
        print_json(job_facts(found, rounds=True))
        return
    settings = ", ".join(f"{name}={value}" for name, value in found.hyperparameters.items())
    print_facts(
        {
            "job": found.name,
            "name": found.display_name,
            "state": str(found.state) + (f": {found.message}" if found.message else ""),
            "dataset": found.dataset,
            "architecture": found.architecture + (f" ({settings})" if settings else ""),
            "plan": ", ".join(
                (
                    f"{count(found.total_rounds, 'round')} of {count(found.shards, 'shard')}",
                    f"{count(found.epochs, 'epoch')} each",
                )
            ),
            "pool": found.pool,
            "created": ago(found.create_time),
            "took": _took(found),
        }
    )
    if not found.rounds:
        return
    best = max(found.rounds, key=_merit)
    print()
    print_table(
        [">round", "state", ">accuracy", ">loss", ">updates", ">time", "merged sha256", "decision"],
        (
            (
                f"{item.number}{'*' if item.number == best.number and item.metrics else ''}",
                str(item.state),
                number(item.metrics.get("accuracy")),
                number(item.metrics.get("loss")),
                f"{len(item.manifest)}/{found.shards}",
                span(item.seconds),
                item.merged_sha256[:12],
                item.decision,
            )
            for item in found.rounds
        ),
        empty="",
    )
    if best.metrics:
        print("* the best round")


@app.command()
def watch(context: typer.Context, job: Name, as_json: AsJson = False) -> None:
    """Watch a job to its end; Ctrl-C leaves it running."""
    from trainnet.cli.live import follow_or_detach

    found = follow_or_detach(connect(context).jobs.get(job))
    if as_json:
        print_json(job_facts(found, rounds=True))
    else:
        print(f"{found.name} {found.state}")
    if found.state != "SUCCEEDED":
        raise JobFailed(found.name, found.state, found.message)


@app.command()
def cancel(context: typer.Context, job: Name, as_json: AsJson = False) -> None:
    """Stop a job for good; merged rounds can still be downloaded. One that has ended stays as it ended."""
    found = connect(context).jobs.get(job).cancel()
    if as_json:
        print_json({"job": found.name, "state": str(found.state), "message": found.message})
    elif found.state in ("CANCELLING", "CANCELLED"):
        print(f"{found.name} {found.state}")
    else:
        print(f"{found.name} had ended before: {found.state}")


@app.command()
def delete(context: typer.Context, job: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an ended job for good: its model, its rounds, its metrics. The data set stays."""
    found = connect(context).jobs.get(job)
    if not found.state.ended:
        raise TrainNetError(f"{found.name} has not ended", hint=f"stop it first: `trainnet jobs cancel {found.id}`")
    lost = f"its model, the record of {count(len(found.rounds), 'round')} and all metrics"
    confirm(f"Delete {found.name} ({found.architecture}) for good, with {lost}?", yes=yes)
    found.delete()
    if as_json:
        print_json({"job": found.name, "deleted": True})
    else:
        print(f"deleted {found.name}")


@app.command()
def download(
    context: typer.Context,
    job: Name,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to make of it.", show_default="the job's id")
    ] = None,
    round: Annotated[  # noqa: A002 - it names the option
        int | None, typer.Option(min=1, help="Round whose model to take.", show_default="the last merged one")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder if it holds something.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download a model's folder, whole or not at all."""
    from trainnet.cli._transfer import TransferDisplay

    found = connect(context).jobs.get(job)
    with TransferDisplay() as display:
        folder = found.download(to or Path(found.id), round, overwrite=force, progress=display.transfer)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if as_json:
        print_json({"job": found.name, "folder": str(folder), "files": files})
    else:
        print(f"{folder}: {', '.join(files)}")


app.command()(verify)


def _merit(item: Round) -> tuple[float, float]:
    """Higher is better; of equal accuracies the one with the lower loss."""
    return item.metrics.get("accuracy", float("-inf")), -item.metrics.get("loss", float("inf"))


def _took(job: Job) -> str:
    if job.start_time is None or job.end_time is None:
        return ""
    return span((job.end_time - job.start_time).total_seconds())
