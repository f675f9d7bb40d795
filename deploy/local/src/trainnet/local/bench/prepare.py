"""`trainnet bench prepare`: how fast a data set is cut into shards, beside pyarrow merely copying the file."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail

REPEATS = 3
"""Runs of each, in turns; the medians count, so that what else the machine does falls on both."""


def measure(console: Console, *, rows: int, shards: int, form: str, data: Path | None) -> dict[str, Any]:
    """All numbers, by their JSON names. Raises LocalError."""
    with tempfile.TemporaryDirectory(prefix="trainnet-bench-", dir=data) as folder:

        def step(name: str) -> dict[str, Any]:
            command = [sys.executable, "-m", "trainnet.local.bench.prepare_steps"]
            done = subprocess.run(
                [*command, name, folder, form, str(rows), str(shards)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise LocalError(f"the step `{name}` failed: {last}")
            result: dict[str, Any] = json.loads(done.stdout)
            return result

        with console.status(f"making and inspecting {rows:,} rows"):
            made = step("generate")
        with console.status("copying with pyarrow and cutting, in turns"):
            turns = [(step("bare"), step("prepare")) for _ in range(REPEATS)]
    bare_s = statistics.median(bare["seconds"] for bare, _ in turns)
    prepare_s = statistics.median(prepared["seconds"] for _, prepared in turns)
    return {
        "rows": rows,
        "shards": shards,
        "format": form,
        "source_bytes": made["source_bytes"],
        "rows_per_s": rows / prepare_s,
        "bare_rows_per_s": rows / bare_s,
        "ratio": bare_s / prepare_s,
        "peak_rss_bytes": max(prepared["peak_rss_bytes"] for _, prepared in turns),
        "bare_peak_rss_bytes": max(bare["peak_rss_bytes"] for bare, _ in turns),
        "prepare_s": [prepared["seconds"] for _, prepared in turns],
        "bare_s": [bare["seconds"] for bare, _ in turns],
        "inspect_s": made["seconds"],
    }


def prepare(
    rows: Annotated[int, typer.Option(min=1000, max=1_000_000_000, help="Rows of the generated file.")] = 5_000_000,
    shards: Annotated[int, typer.Option(min=1, max=1000, help="Shards to cut, beside a holdout of a tenth.")] = 16,
    form: Annotated[Literal["parquet", "csv"], typer.Option("--format", help="Format of the file.")] = "parquet",
    data: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            exists=True,
            help="Where to work; what is written there is removed.",
            show_default="temporary",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure preparation: rows a second and memory, against reading and writing the same file."""
    try:
        result = measure(Console(stderr=True, highlight=False), rows=rows, shards=shards, form=form, data=data)
    except LocalError as error:
        fail(error)
    if as_json:
        print(json.dumps(result))
    else:
        show(Console(highlight=False), result)


def show(console: Console, result: dict[str, Any]) -> None:
    """The numbers for people."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    what = f"{result['rows']:,} rows, {result['source_bytes'] / 1e6:,.0f} MB of {result['format']}"
    table.add_row("prepare", f"{result['rows_per_s'] / 1e6:.2f} M rows/s", f"{what} into {result['shards']} shards")
    table.add_row("bare", f"{result['bare_rows_per_s'] / 1e6:.2f} M rows/s", "pyarrow reading and writing the file")
    table.add_row("prepare / bare", f"{result['ratio']:.2f}", f"medians of {REPEATS} runs each, in turns")
    table.add_row(
        "peak", f"{result['peak_rss_bytes'] / 1e6:.0f} MB", f"bare {result['bare_peak_rss_bytes'] / 1e6:.0f} MB"
    )
    table.add_row("inspect", f"{result['inspect_s']:.1f} s", "the whole file, once for each data set")
    console.print(table)
