"""`trainnet bench codecs`: what each codec costs a language model, and what it saves.

A small GPT learns the King James Bible, once with each codec: the worker's own tasks, the aggregator's own engine, the
same shards, steps, seeds and merge strategy.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from trainnet.coordinator.domain.codecs import BASE_CODECS, CODECS, NUMBERS
from trainnet.coordinator.usecases import codecs as codecs_of_jobs
from trainnet.local.bench import choices, merging
from trainnet.local.bench.compression.text import write_text
from trainnet.local.errors import LocalError
from trainnet.local.terminal import fail
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import codec_pb2, job_pb2

if TYPE_CHECKING:
    from trainnet.local.bench.compression.language_model import Budget

STRATEGY = "fedavg"
"""Of all codecs alike: what TOPK feeds back is a momentum already, as in SparseLoCo (arXiv:2508.15706)."""
_MESSAGES = {"diloco": job_pb2.MERGE_STRATEGY_NESTEROV, "fedavg": job_pb2.MERGE_STRATEGY_FEDAVG}
SHARDS, ROUNDS, LOCAL_STEPS = 4, 60, 8
QUICK_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One codec."""

    codec: str
    bytes_per_update: int
    bytes_per_parameter: float
    bytes_ratio: float
    """How many times fewer than FP32."""
    loss: float
    """On text that was held out, in nats a token."""
    loss_gap: float
    """To FP32's by the same strategy, relative to it; weights travelling and shards moving as in its first row."""
    strategy: str
    base_codec: str
    """How the weights travelled."""
    moved: float
    """The share of shards that changed the worker after each round."""
    seconds: float
    parameters: int
    shards: int
    rounds: int
    local_steps: int
    seed: int
    text: str


def codecs(
    codecs: Annotated[str, typer.Option(help="Codecs, with commas between; fp32 always.", show_default="all")] = "",
    shards: Annotated[int, typer.Option(min=1, max=64, help="Shards of each round.")] = SHARDS,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Rounds of each training.", show_default=str(ROUNDS))
    ] = None,
    local_steps: Annotated[int, typer.Option(min=1, max=100_000, help="Steps of a shard in a round.")] = LOCAL_STEPS,
    merge: Annotated[str, typer.Option(help="What merges: fedavg, diloco, or both with a comma between.")] = STRATEGY,
    base_codec: Annotated[
        str, typer.Option(help="How weights travel to workers: fp32, bf16, or both with a comma between.")
    ] = "fp32",
    moved: Annotated[
        str, typer.Option(help="Shares of shards that change the worker after a round, and what it kept of them.")
    ] = "0",
    seed: Annotated[int, typer.Option(min=1, max=10**6, help="Of weights, shards and batches.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A number of the codecs that have it; may be repeated."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few rounds, to see that it works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each codec on stdout.")] = False,
) -> None:
    """Train a small GPT with each codec, and tell its loss and the bytes of its updates."""
    from trainnet.local.bench.compression.language_model import Budget  # torch takes its time

    console, found = Console(stderr=True, highlight=False), []
    try:
        budget = Budget(shards, rounds or (QUICK_ROUNDS if quick else ROUNDS), local_steps, seed)
        wanted = choices.names("--codecs", codecs, [name.lower() for name in CODECS])
        given = choices.settings("--set", set_ or [], NUMBERS)
        strategies = choices.names("--merge", merge, _MESSAGES)
        bases = choices.names("--base-codec", base_codec, [name.lower() for name in BASE_CODECS])
        shares = choices.numbers("--moved", moved, float, [0.0])
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise LocalError(f"--moved: {moved!r} has shares that are not from 0 to 1")
        with console.status("cutting the text") as status:
            for row in measure(wanted, given, strategies, bases, shares, budget, status.update):
                found.append(row)
                if as_json:
                    print(json.dumps(asdict(row)), flush=True)
    except LocalError as error:
        fail(error)
    if not as_json:
        Console(highlight=False).print(table(found))


def measure(
    wanted: Sequence[str],
    given: Mapping[str, float],
    strategies: Sequence[str],
    bases: Sequence[str],
    moved: Sequence[float],
    budget: "Budget",
    say: Callable[[str], None],
) -> Iterator[Row]:
    """A row for each codec, strategy, way of the weights and share of shards that move; FP32's first, to which the
    others' gap is. Raises LocalError."""
    from trainnet.local.bench.compression.language_model import LanguageModel

    plain: dict[str, Row] = {}
    with tempfile.TemporaryDirectory(prefix="trainnet-bench-") as folder, merging.storing() as store:
        text = write_text(Path(folder) / "text.txt")
        model = LanguageModel(Path(folder), Path(folder) / "text.txt", budget)
        for name, strategy, base, share in product(dict.fromkeys(("fp32", *wanted)), strategies, bases, moved):
            began = time.monotonic()
            policy = merging.completed(job_pb2.MergePolicy(strategy=_MESSAGES[strategy]), budget.shards)

            def show(number: int, name: str = name) -> None:
                say(f"{name}: round {number} of {budget.rounds}")

            job, codec = f"{name}-{strategy}-{base}-{share}", codec_of(name, given)
            outcome = model.train(store, job, codec, policy, show, copies=base == "bf16", moved=share)
            fp32 = plain.get(strategy)
            row = Row(
                codec=name,
                bytes_per_update=outcome.update_bytes,
                bytes_per_parameter=outcome.update_bytes / outcome.parameters,
                bytes_ratio=(fp32.bytes_per_update if fp32 else outcome.update_bytes) / outcome.update_bytes,
                loss=outcome.loss,
                loss_gap=outcome.loss / fp32.loss - 1.0 if fp32 else 0.0,
                strategy=strategy,
                base_codec=base,
                moved=share,
                seconds=time.monotonic() - began,
                parameters=outcome.parameters,
                shards=budget.shards,
                rounds=budget.rounds,
                local_steps=budget.local_steps,
                seed=budget.seed,
                text=text,
            )
            plain.setdefault(strategy, row)
            yield row


def codec_of(name: str, given: Mapping[str, float]) -> codec_pb2.Codec:
    """A codec with those of the numbers that it has, completed as the coordinator does. Raises LocalError."""
    codec = codec_pb2.Codec(kind=f"CODEC_KIND_{name.upper()}")
    for number, value in given.items():
        if number in CODECS[name.upper()]:
            setattr(codec, number, value if number == "feedback" else int(value))
    try:
        codecs_of_jobs.complete(codec)
    except InvalidArgument as error:
        raise LocalError(f"--set: {error}") from None
    return codec


def table(rows: Sequence[Row]) -> Table:
    """For people."""
    found = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("codec", "merged by", "weights as"):
        found.add_column(heading)
    for heading in ("moved", "bytes an update", "a parameter", "fewer than fp32", "loss", "gap"):
        found.add_column(heading, justify="right")
    for row in rows:
        found.add_row(
            row.codec,
            row.strategy,
            row.base_codec,
            f"{row.moved:.0%}",
            f"{row.bytes_per_update:,}",
            f"{row.bytes_per_parameter:.4f}",
            f"{row.bytes_ratio:.1f} x",
            f"{row.loss:.4f}",
            f"{100 * row.loss_gap:+.2f} %",
        )
    return found
