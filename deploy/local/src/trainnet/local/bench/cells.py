"""`trainnet bench cells`: merges of many sizes, rules and codecs from the object store, without workers, beside what
this machine does by itself."""

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

from trainnet.aggregator.bench import policies
from trainnet.aggregator.bench.updates import CODECS, decoder
from trainnet.local.bench import choices, store_rates
from trainnet.local.bench.aggregator import rates, run, store_settings
from trainnet.local.bench.running import running
from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail

_BARE_NUMBERS = 50_000_000
_TURNS = 3
MOST_BYTES = 20_000_000_000
"""What a cell stores at most: further updates are objects that others are too, with weights of their own."""


def bare_rates() -> dict[str, float]:
    """Bytes per second of memory alone: a copy, and a weighted mean of four updates by torch."""
    source = np.ones(_BARE_NUMBERS, np.float32)
    target = np.zeros_like(source)
    updates = [torch.ones(_BARE_NUMBERS // 4) for _ in range(4)]
    mean = torch.zeros(_BARE_NUMBERS // 4)

    def weighted() -> None:
        mean.zero_()
        for weight, update in enumerate(updates, start=1):
            mean.add_(update, alpha=weight / 10)

    size = source.nbytes
    return {
        "memcpy_bytes_per_s": size / _fastest(lambda: np.copyto(target, source)),
        "torch_mean_bytes_per_s": size / _fastest(weighted),
    }


def _fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TURNS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def cells(
    params: Annotated[str, typer.Option(help="fp32 numbers in the model, separated by commas.")] = "100000000",
    updates: Annotated[str, typer.Option(help="Updates to merge.")] = "4,16,64",
    rules: Annotated[str, typer.Option(help="Rules, as bench merge has them.")] = (
        "mean,trimmed_mean,krum,centered_clipping"
    ),
    codecs: Annotated[str, typer.Option(help="Codecs.")] = "fp32,bf16,int8,topk",
    strategy: Annotated[str, typer.Option(help="The strategy of all cells.")] = "fedavg",
    data: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Where to work; what is written there is removed.", show_default="temporary"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each cell, nothing else.")] = False,
) -> None:
    """Measure merges of every size, rule and codec: bytes per second and the peak of memory, without workers."""
    console = Console(stderr=True, highlight=False)
    try:
        kinds = choices.names("--rules", rules, policies.rules())
        grid = itertools.product(_numbers(params), choices.names("--codecs", codecs, CODECS), _numbers(updates))
        for size, codec, count in grid:
            # A store of its own for each, since stores keep what is deleted for a while: every merge's result.
            stored = min(MOST_BYTES, 4 * size + count * decoder(codec, size).data_size)
            need = stored + 4 * size * len(kinds)
            with running(console, data=data, workers=0, need_bytes=need) as stack:
                with console.status("this machine alone"):
                    alone = {**bare_rates(), "store_get_bytes_per_s": store_rates.measure(stack, 64 << 20).get}
                for rule in kinds:
                    cell = {"params": size, "updates": count, "strategy": strategy, "rule": rule, "codec": codec}
                    with console.status(f"{count} updates of {size / 1e6:g} M numbers, {rule}, {codec}"):
                        cell.update(_measure(cell, store_settings(stack)), **alone)
                    print(json.dumps(cell) if as_json else _line(cell), flush=True)
    except LocalError as error:
        fail(error)


def _measure(cell: dict[str, Any], settings: dict[str, str]) -> dict[str, float]:
    choice = [f"--{name}={cell[name]}" for name in ("updates", "strategy", "rule", "codec")]
    size = [f"--params={cell['params']}", f"--most-bytes={MOST_BYTES}"]
    work = run("store", *choice, *size, settings=settings)
    os.sync()  # else what was just stored would be written back while it is merged
    kernel = rates("kernel", *choice)["kernel_bytes_per_s"]
    found = rates("merge", work=work, settings=settings)
    fp32 = 4 * cell["params"] * cell["updates"] / found["merge_s"]
    return {**found, "fp32_bytes_per_s": fp32, "kernel_bytes_per_s": kernel}


def _line(cell: dict[str, Any]) -> str:
    return (
        f"{cell['params']:>13,} x {cell['updates']:<3} {cell['rule']:<18} {cell['codec']:<5}"
        f" {cell['bytes_per_s'] / 1e9:6.2f} GB/s ({cell['fp32_bytes_per_s'] / 1e9:.2f} as fp32)"
        f"  kernel {cell['kernel_bytes_per_s'] / 1e9:.2f}  store {cell['store_get_bytes_per_s'] / 1e9:.2f}"
        f"  {cell['peak_rss_bytes'] / 1e6:.0f} MB"
    )


def _numbers(given: str) -> list[int]:
    try:
        found = [int(part) for part in given.split(",")]
    except ValueError:
        raise LocalError(f"{given!r} is no list of numbers, such as 4,16,64") from None
    if min(found) < 1:
        raise LocalError(f"{given!r}: the numbers begin at 1")
    return found
