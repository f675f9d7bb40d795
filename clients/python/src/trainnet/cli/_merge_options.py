"""Options of `trainnet train` that say how rounds are made one model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trainnet.client import Job

_PANEL = "Merging"
_WAITING = "Rounds that do not wait for everybody"

Merge = Annotated[
    str,
    typer.Option(
        metavar="STRATEGY",
        rich_help_panel=_PANEL,
        help="How updates become one model: fedavg, fedavgm, diloco, fedadam, fedyogi, fedadagrad, or robust, which is "
        "fedavg of --rule centered_clipping in buckets of 2, with norm_clip=3.",
    ),
]
Rule = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        rich_help_panel=_PANEL,
        help="What updates become before that: mean, or one that bears harmful updates: median, trimmed_mean, krum, "
        "geometric_median or centered_clipping.",
        show_default="mean",
    ),
]
MergeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--merge-set",
        metavar="NAME=NUMBER",
        rich_help_panel=_PANEL,
        help="A number of --merge or --rule, server_learning_rate=0.5 or byzantine=2 for example; may be repeated.",
    ),
]
Codec = Annotated[
    str,
    typer.Option(
        metavar="fp32|bf16|int8|topk",
        rich_help_panel=_PANEL,
        help="How updates travel: 4, 2, about 1 or about 0.02 bytes for each number.",
    ),
]
CodecSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--codec-set",
        metavar="NAME=NUMBER",
        rich_help_panel=_PANEL,
        help="A number of --codec: block_size of int8; chunk_size, keep and feedback of topk; may be repeated.",
    ),
]
BaseCodec = Annotated[
    str,
    typer.Option(
        "--base-codec",
        metavar="fp32|bf16",
        rich_help_panel=_PANEL,
        help="How the weights travel to the workers from the second round on: 4 or 2 bytes for each number.",
    ),
]
KeepOptimizer = Annotated[
    bool,
    typer.Option(
        "--keep-optimizer",
        rich_help_panel=_PANEL,
        help="Workers keep the state of their optimiser for a shard from round to round.",
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=_WAITING,
        help="Shards that each round trains, drawn by the seed.",
        show_default="all",
    ),
]
Quorum = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=_WAITING,
        help="Accepted updates that suffice once --deadline is over, or once all other shards were given up.",
        show_default="all",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        rich_help_panel=_WAITING,
        help="How long a round waits for more than its --quorum: 90s, 10m, 1h30m.",
        show_default="for ever",
    ),
]
BackupAfter = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="TIMES",
        rich_help_panel=_WAITING,
        help="A shard that takes so many times the median goes to a second worker too; the first update wins.",
        show_default="never",
    ),
]
Buffer = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="K",
        rich_help_panel=_WAITING,
        help="A round closes with its first K updates; who comes later counts in a later round, the staler the less.",
        show_default="none: who is late is refused",
    ),
]
MaxStaleness = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="ROUNDS",
        rich_help_panel=_WAITING,
        help="With --buffer: rounds that an update may be late; a shard that takes longer is called back.",
        show_default="10",
    ),
]


def warn_of_no_protection(job: Job) -> None:
    """A robust rule over few updates bears none that does harm: whoever asked for it would think otherwise."""
    if job.rule_settings.get("byzantine") == 0:
        print(
            f"note: with {job.buffer or job.quorum} updates {job.rule} is set to bear no harmful one: take more "
            "updates or smaller buckets; docs/merging.md says how many a rule needs",
            file=sys.stderr,
        )
