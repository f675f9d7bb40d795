"""`trainnet bench merge`: a round of large updates, beside what the object store alone would take for its bytes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from rich.console import Console
from rich.table import Table

from trainnet.aggregator.rules.rule import rule_of
from trainnet.local.bench import noop, store_rates
from trainnet.local.bench.aggregator import rates, store_settings
from trainnet.local.bench.jobs import whole_round
from trainnet.local.bench.running import running
from trainnet.local.errors import LocalError
from trainnet.local.stack import LocalStack
from trainnet.local.terminal import fail
from trainnet.v1 import job_pb2, merge_pb2

# The first round warms processes and caches, the second is the result.
ROUNDS = 2

_NAMES = {"diloco": "nesterov"}
"""What people call differently than the contract."""


@dataclass(frozen=True)
class Traffic:
    """Bytes that a round moves through the store, by what they are."""

    updates: int  # put by workers; read once to be checked
    compared: int  # updates read by the aggregator because the rule has to see them all first; 0 for most rules
    folded: int  # updates read by the aggregator to be folded: those that count
    base: int  # read by every worker that trains, and by the aggregator
    merged: int  # put by the aggregator
    partials: int  # sums of groups: put and read by the aggregator; 0 where all shards are one group
    state_put: int  # of the server's optimiser, by the aggregator; 0 where the strategy keeps none
    state_got: int  # the one of the round before
    readers: int  # workers that read the base

    @property
    def put(self) -> int:
        return self.updates + self.merged + self.partials + self.state_put

    @property
    def got(self) -> int:
        read = self.updates + self.compared + self.folded
        return self.readers * self.base + read + self.base + self.partials + self.state_got


def traffic(found: job_pb2.Round, policy: job_pb2.MergePolicy, params: int) -> Traffic:
    """What a round of noop updates has to move."""
    rule = rule_of(policy)
    weighed = any(entry.HasField("weighing") for entry in found.manifest)
    grouped = found.group_size > 0 and not weighed
    groups = len({entry.shard // found.group_size for entry in found.manifest}) if grouped else 1
    updates = sum(entry.update.size_bytes for entry in found.manifest)
    return Traffic(
        updates=updates,
        # Without buckets; lengths alone are known from the checks.
        compared=updates if rule is not None and rule.compares else 0,
        folded=sum(entry.update.size_bytes for entry in found.manifest if entry.weighing.factor or not weighed),
        base=found.base.size_bytes,
        merged=found.merged.size_bytes,
        partials=groups * 8 * params if groups > 1 else 0,
        state_put=found.optimizer_state.size_bytes,
        state_got=found.base_optimizer_state.size_bytes,
        readers=len({entry.worker for entry in found.manifest}),
    )


def peak_rss_bytes(stack: LocalStack) -> int:
    """The most memory that the aggregators ever held: VmHWM over their processes."""
    total = 0
    for name, pid in stack.pids.items():
        if name.startswith("aggregator-"):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            total += next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    return total


def kernel_bytes_per_s(updates: int, strategy: str, rule: str, codec: str) -> float:
    """The aggregator's arithmetic alone, without a store, in a process of its own."""
    arguments = ["--updates", str(min(updates, 16)), "--strategy", _NAMES.get(strategy, strategy)]
    arguments += ["--rule", rule, "--codec", codec]
    return float(rates("kernel", *arguments)["kernel_bytes_per_s"])


def fold_rates(stack: LocalStack, found: job_pb2.Round, spec: job_pb2.JobSpec) -> dict[str, float]:
    """Reading and folding that round's updates from the store, without the write, beside reading them alone."""
    terms = [
        merge_pb2.Term(
            shard=entry.shard,
            update=entry.update,
            weight=entry.examples,
            norm=entry.weighing.norm if entry.HasField("weighing") else None,
        )
        for entry in found.manifest
    ]
    state = found.base_optimizer_state if found.HasField("base_optimizer_state") else None
    work = merge_pb2.MergeWork(
        base=found.base,
        groups=[merge_pb2.Group(terms=terms)],
        policy=spec.merge,
        optimizer_state=state,
        codec=spec.codec,
    )
    return rates("fold", work=json_format.MessageToJson(work), settings=store_settings(stack))


def measure(
    console: Console,
    *,
    params: int,
    updates: int,
    workers: int,
    data: Path | None,
    strategy: str = "fedavg",
    rule: str = "mean",
    codec: str = "fp32",
) -> dict[str, Any]:
    """All numbers, by their JSON names. Raises LocalError, TrainNetError."""
    size = 4 * params
    # Two numbers for each weight at most are the state of an optimiser.
    stored = (
        ROUNDS * (2 * updates + 2 + (2 if strategy != "fedavg" else 0))
        + 1
        + store_rates.STREAMS * store_rates.objects_per_stream(size)
    )
    with running(console, data=data, workers=workers, need_bytes=(stored + 5 * workers) * size) as stack:
        job = noop.run_noop(
            stack, console, params=params, shards=updates, rounds=ROUNDS, merge=strategy, rule=rule, codec=codec
        )
        found = whole_round(stack.endpoints, job.rounds[-1].name)
        peak = peak_rss_bytes(stack)
        # After the rounds: while the workers start, they take the processor that the store would be measured with.
        with console.status("the object store alone: 4 streams up, 4 streams down"):
            alone = store_rates.measure(stack, size)
        with console.status("reading and folding, without the write"):
            folding = fold_rates(stack, found, job.spec)
    with console.status("the kernel alone"):
        kernel = kernel_bytes_per_s(updates, strategy, rule, codec)
    moved = traffic(found, job.spec.merge, params)
    steps = noop.critical_path(found)
    round_s, making_s = noop.round_seconds(found), noop.making_seconds(found)
    ideal_s = moved.put / alone.put + moved.got / alone.get
    return {
        "params": params,
        "updates": updates,
        "workers": workers,
        "strategy": strategy,
        "rule": rule,
        "codec": codec,
        "bytes_per_s": moved.updates / steps["merge"],
        "fp32_bytes_per_s": size * updates / steps["merge"],
        "kernel_bytes_per_s": kernel,
        "fold_bytes_per_s": folding["fold_bytes_per_s"],
        "fold_read_bytes_per_s": folding["read_bytes_per_s"],
        "fold_ratio": folding["ratio"],
        "peak_rss_bytes": peak,
        "round_s": round_s,
        "ideal_round_s": ideal_s,
        "ratio": round_s / ideal_s,
        "making_updates_s": making_s,
        "ratio_without_making": (round_s - making_s) / ideal_s,
        "store_put_bytes_per_s": alone.put,
        "store_get_bytes_per_s": alone.get,
        "bytes_put": moved.put,
        "bytes_got": moved.got,
        "traffic": asdict(moved),
        "steps": steps,
        "mean_steps": noop.mean_attempt(found),
        "first_round_s": noop.round_seconds(job.rounds[0]),
    }


def merge(
    params: Annotated[int, typer.Option(min=1000, max=20_000_000_000, help="fp32 numbers in the model.")] = 100_000_000,
    updates: Annotated[int, typer.Option(min=1, max=10_000, help="Updates to merge, each another random one.")] = 4,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers that make and upload them.")] = 4,
    strategy: Annotated[
        str, typer.Option(help="How they are merged: fedavg, fedavgm, diloco, fedadam, fedyogi or fedadagrad.")
    ] = "fedavg",
    rule: Annotated[
        str,
        typer.Option(
            help="What they become before that: mean, median, trimmed_mean, krum, geometric_median or "
            "centered_clipping."
        ),
    ] = "mean",
    codec: Annotated[str, typer.Option(help="How they travel: fp32, bf16, int8 or topk.")] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Where to work; what is written there is removed.", show_default="temporary"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure a round of large updates: the store's share, the merge, its memory."""
    console = Console(stderr=True, highlight=False)
    try:
        result = measure(
            console,
            params=params,
            updates=updates,
            workers=workers,
            data=data,
            strategy=strategy,
            rule=rule,
            codec=codec,
        )
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
    moved = f"{result['bytes_put'] / 1e9:.2f} GB up, {result['bytes_got'] / 1e9:.2f} GB down"
    rows = [
        ("round", f"{result['round_s']:.2f} s", f"{result['updates']} updates of {4 * result['params'] / 1e6:,.1f} MB"),
        ("ideal", f"{result['ideal_round_s']:.2f} s", f"the store alone for the same bytes: {moved}"),
        ("round / ideal", f"{result['ratio']:.2f}", f"{result['ratio_without_making']:.2f} without making the updates"),
        (
            "making updates",
            f"{result['making_updates_s']:.2f} s",
            "random numbers and their digests, in place of training",
        ),
        ("merge", _rate(result["bytes_per_s"]), "of updates, from claim to commit"),
        ("read and fold", _rate(result["fold_bytes_per_s"]), f"{result['fold_ratio']:.2f} of the store's reads alone"),
        ("kernel alone", _rate(result["kernel_bytes_per_s"]), "of updates, in memory"),
        ("store PUT, GET", _rate(result["store_put_bytes_per_s"]), _rate(result["store_get_bytes_per_s"])),
        ("aggregator peak", f"{result['peak_rss_bytes'] / 1e6:.0f} MB", "VmHWM"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print("\nsteps of the update that was accepted last", style="bold")
    steps = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
    for name, seconds in result["steps"].items():
        steps.add_row(f"  {name.replace('_', ' ')}", f"{seconds:.3f} s")
    console.print(steps)


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e9:.2f} GB/s" if bytes_per_s >= 1e9 else f"{bytes_per_s / 1e6:.0f} MB/s"
