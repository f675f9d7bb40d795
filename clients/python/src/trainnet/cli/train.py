"""`trainnet train`: from a file to a running job in one command."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import finite
from trainnet.cli._merge_options import (
    BackupAfter,
    BaseCodec,
    Buffer,
    Codec,
    CodecSettings,
    Deadline,
    KeepOptimizer,
    MaxStaleness,
    Merge,
    MergeSettings,
    Quorum,
    Rule,
    Sample,
    warn_of_no_protection,
)
from trainnet.cli._metrics import headline
from trainnet.cli._output import AsJson, Yes, confirm, print_json
from trainnet.cli._reading import FILES, Format, Kinds, Label, SplitColumn, parse_kinds
from trainnet.client import FieldViolation, InvalidArgument, JobFailed

if TYPE_CHECKING:
    from trainnet.client import Job

EXAMPLES = "\n\n".join(
    (
        "Examples:",
        "trainnet train flowers.csv -a mlp --wait",
        "trainnet train datasets/flowers-7h2k9m4p -a mlp --rounds 10 --set learning_rate=0.1 --set hidden=64,32",
        "trainnet train reviews.csv -a distilbert --label stars --kind title=ignored --set size=tiny --wait",
        "trainnet train novels.txt -a gpt2 --base ./my-gpt2 --set lora.rank=8 --local-steps 50 --wait",
        "trainnet train novels.txt -a gpt2 --rounds 60 --local-steps 50 --keep-optimizer --merge diloco",
        "trainnet train photos.zip -a cnn --shards 25 --merge robust --quorum 20 --deadline 10m --backup-after 2",
    )
)

_STRANGERS = "the public pool is made of strangers' machines: their owners will see the rows of their shards"


def train(
    context: typer.Context,
    architecture: Annotated[
        str, typer.Option("--architecture", "-a", help="What to train; `trainnet catalog` lists them.")
    ],
    data: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|DATASET]", help=f"A data set's name, or what to upload. {FILES}"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds: each ends with one merged model.")] = 3,
    shards: Annotated[
        int, typer.Option(min=1, help="Parts the data are cut into; workers train one each at a time.")
    ] = 4,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over its shard that a worker makes in each round.", show_default="1"),
    ] = None,
    local_steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps in each round, in place of epochs.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="BASE",
            help="What to start from: jobs/…, models/…, hub:owner/name or hub:owner/name@revision, or a .safetensors "
            "file or a model's folder, which is uploaded.",
            show_default="scratch",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="iid|stratified|dirichlet", help="How the rows are dealt to the shards.")
    ] = "iid",
    alpha: Annotated[
        float | None,
        typer.Option(help="Of --split dirichlet: the smaller, the less alike the shards.", show_default="0.5"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter that `trainnet catalog NAME` lists, lora.rank=8 for example; may be repeated.",
        ),
    ] = None,
    merge: Merge = "fedavg",
    rule: Rule = None,
    merge_settings: MergeSettings = None,
    codec: Codec = "fp32",
    codec_settings: CodecSettings = None,
    base_codec: BaseCodec = "fp32",
    keep_optimizer: KeepOptimizer = False,
    sample: Sample = None,
    quorum: Quorum = None,
    deadline: Deadline = None,
    backup_after: BackupAfter = None,
    buffer: Buffer = None,
    max_staleness: MaxStaleness = None,
    pool: Annotated[
        str, typer.Option(metavar="trusted|public", help="Whose machines. public: strangers will see the shards.")
    ] = "trusted",
    seed: Annotated[
        int,
        typer.Option(
            help="Fixes weights, cut, samples, shuffles and dropout: where the same updates count, the same model."
        ),
    ] = 0,
    holdout: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the rows kept for evaluation.")] = 0.2,
    label: Label = None,
    kind: Kinds = None,
    split_column: SplitColumn = None,
    data_format: Format = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.", show_default="the data's name")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it to its end; Ctrl-C leaves it running.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on a file, a folder or a data set."""
    from trainnet.cli._transfer import TransferDisplay
    from trainnet.client import parse_codec_settings, parse_duration, parse_hyperparameters, parse_merge_settings

    start = time.monotonic()
    codec_numbers = parse_codec_settings(codec_settings or [])
    seconds = None if deadline is None else parse_duration(deadline)
    texts, merge_numbers, kinds = _texts(settings or []), parse_merge_settings(merge_settings or []), parse_kinds(kind)
    client = connect(context)
    values = parse_hyperparameters(client.architectures.get(architecture), texts)
    if pool == "public":
        print(f"note: {_STRANGERS}", file=sys.stderr)
        confirm("Train on the public pool?", yes=yes)
    with TransferDisplay() as display:
        job = client.train(
            data,
            architecture,
            rounds=rounds,
            shards=shards,
            epochs=epochs,
            local_steps=local_steps,
            base=base,
            split=split,
            alpha=alpha,
            hyperparameters=values,
            merge=merge,
            merge_settings=merge_numbers,
            rule=rule,
            codec=codec,
            codec_settings=codec_numbers,
            base_codec=base_codec,
            sample=sample,
            quorum=quorum,
            deadline=seconds,
            backup_after=backup_after,
            buffer=buffer,
            max_staleness=max_staleness,
            keep_optimizer=keep_optimizer,
            pool=pool,
            seed=seed,
            holdout=holdout,
            name=name,
            label=label,
            kinds=kinds,
            split_column=split_column,
            format=data_format,
            progress=display.transfer,
            watch=display.dataset,
        )
    warn_of_no_protection(job)
    if wait:
        from trainnet.cli.live import follow_or_detach

        follow_or_detach(job)
    if as_json:
        facts = {"job": job.name, "dataset": job.dataset, "state": str(job.state), "message": job.message}
        print_json({**facts, "metrics": finite(job.metrics), "wall_s": round(time.monotonic() - start, 3)})
    elif wait:
        _tell_end(job)
    else:
        print(f"{job.name} {job.state}: `trainnet jobs watch {job.id}` shows it")
    if wait and job.state != "SUCCEEDED":
        raise JobFailed(job.name, job.state, job.message)


def _texts(settings: list[str]) -> dict[str, str]:
    texts = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise InvalidArgument(
                f"--set {setting!r}: a hyperparameter needs a name and a value",
                violations=(FieldViolation("spec.hyperparameters", "needs a name and a value"),),
                hint="write it as --set learning_rate=0.1",
            )
        texts[name.strip()] = value
    return texts


def _tell_end(job: Job) -> None:
    from trainnet.client import describe_metrics

    metrics = describe_metrics(job.metrics)
    before = headline(job.initial_metrics)
    print(f"{job.name} {job.state}" + (f": {metrics}" if metrics else "") + (f" (before: {before})" if before else ""))
    if job.state == "SUCCEEDED":
        print(f"`trainnet jobs download {job.id} --to FOLDER` fetches the model")
