"""`trainnet bench rounds`: what a round costs when nothing is trained.

Every update is real: made by a trainer process, declared, uploaded to the store, checked and merged. The figures are
the coordinator's own timestamps, from the transaction that opened a round to the one that committed its merge.
"""

import json as json_module
import math
import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Column, Table

from trainnet.client import Client
from trainnet.local.bench.jobs import whole_job
from trainnet.local.stack import LocalStack
from trainnet.v1 import job_pb2

PER_SHARD = ("assigned", "leased", "declared", "received", "claimed")
WARM_UP = 3
"""Rounds before the first that counts: connections are made, code is loaded."""

STEPS = {
    "assign": "round opened -> last shard assigned",
    "accept": "-> last worker has its lease",
    "train": "-> last update made and declared (noop)",
    "upload": "-> last update granted, stored and received",
    "claim": "-> last check claimed by the aggregator",
    "check": "-> last update checked and accepted, manifest frozen",
    "merge_claim": "-> merge claimed",
    "merge": "-> merged weights written and committed",
}


def step_seconds(done: job_pb2.Round) -> dict[str, float]:
    """Where a merged round's time went: from each step's last shard to the next step's last shard, so that the steps
    add up to the round."""
    times = [entry.times for entry in done.manifest]
    marks = [
        seconds(done.open_time),
        *(max(seconds(getattr(item, name)) for item in times) for name in PER_SHARD),
        seconds(done.close_time),
        seconds(done.claim_time),
        seconds(done.merged_time),
    ]
    return {name: after - before for name, (before, after) in zip(STEPS, pairwise(marks), strict=True)}


def seconds(stamp: Timestamp) -> float:
    return stamp.ToMicroseconds() / 1e6


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(folder: Path, workers: int, count: int, params: int) -> dict[str, object]:
    """Runs the job on a stack of its own and answers the figures that `--json` prints."""
    with (
        LocalStack(folder, workers=workers, log_level="warning") as stack,
        Client(stack.endpoints.grpc, stack.endpoints.token) as client,
    ):
        job = client.train(
            None,
            architecture="noop",
            rounds=count + WARM_UP,
            shards=workers,
            hyperparameters={"params": params},
            name="bench rounds",
        )
        job.wait(progress=False)
        done = whole_job(stack.endpoints, job.name).rounds[WARM_UP:]
    walls = [seconds(item.merged_time) - seconds(item.open_time) for item in done]
    each = [step_seconds(item) for item in done]
    return {
        "median_s": statistics.median(walls),
        "p95_s": percentile(walls, 0.95),
        "steps": {name: statistics.median(steps[name] for steps in each) for name in STEPS},
        "workers": workers,
        "rounds": len(walls),
        "min_s": min(walls),
        "max_s": max(walls),
        "update_bytes": min(entry.update.size_bytes for item in done for entry in item.manifest),
    }


def rounds(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers, and shards of each round.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, max=10000, help="Rounds that count, after three to warm up.")] = 20,
    params: Annotated[int, typer.Option(min=1, help="fp32 parameters of the model; 1024 are updates of 4 KB.")] = 1024,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Time rounds that train nothing: everything but the training, on a stack of its own."""
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="trainnet-bench-") as folder, console.status("running rounds"):
        result = measure(Path(folder), workers, rounds, params)
    if json:
        print(json_module.dumps(result))
        return
    table = Table("step", Column("median ms", justify="right"), "what", box=None)
    steps = result["steps"]
    assert isinstance(steps, dict)
    for name, value in steps.items():
        table.add_row(name, f"{value * 1e3:.1f}", STEPS[name])
    out = Console(highlight=False)
    out.print(f"a round of {workers} updates: median {result['median_s']:.3f} s, p95 {result['p95_s']:.3f} s")
    out.print(table)
