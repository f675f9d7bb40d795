"""The small files beside a model's weights: a configuration for programs, a card for people."""

import json
from typing import Any

from google.protobuf import json_format

from trainnet.coordinator.usecases.policy_words import codec_words, merge_words, participation_words
from trainnet.v1 import job_pb2

_METRICS = ("accuracy", "perplexity", "word_error_rate", "loss")


def model_config(job: job_pb2.Job, number: int) -> str:
    """`config.json`: all that loading needs: architecture, hyperparameters, and how the data are encoded."""
    schema = json_format.MessageToDict(job.schema, preserving_proto_field_name=True) if job.HasField("schema") else None
    config = {
        "format": "trainnet",
        "architecture": job.spec.architecture,
        "hyperparameters": _whole(json_format.MessageToDict(job.spec.hyperparameters)),
        "labels": [item.name for item in job.schema.classes],
        "schema": schema,
        "job": job.name,
        "round": number,
    }
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def model_card(job: job_pb2.Job, number: int) -> str:
    """`README.md`: what the model is, how it did, and where every weight comes from."""
    lines = [
        f"# {job.spec.display_name or job.name}",
        "",
        (
            f"Architecture `{job.spec.architecture}`, trained by TrainNet as `{job.name}`; these are the weights after "
            f"round {number} of {job.spec.rounds}."
        ),
        "",
    ]
    if job.HasField("schema"):
        classes = ", ".join(item.name for item in job.schema.classes[:20])
        more = f" and {len(job.schema.classes) - 20} more" if len(job.schema.classes) > 20 else ""
        label = f" Label `{job.schema.label}`{': ' if classes else ''}{classes}{more}." if job.schema.label else ""
        lines += [
            "## Data",
            "",
            (
                f"{job.schema.rows} rows, of which {job.spec.plan.holdout_fraction:.0%} were held out for evaluation; "
                f"{job.spec.plan.shards} shards.{label}"
            ),
            "",
        ]
    rounds_said = participation_words(job.spec)
    lines += [
        "## Merging",
        "",
        f"Merged by `{merge_words(job.spec)}`; updates travelled as `{codec_words(job.spec)}`."
        + (f" {rounds_said}." if rounds_said else ""),
        "",
    ]
    rounds = [item for item in job.rounds if item.merged_sha256 and item.number <= number]
    metrics = [name for name in _METRICS if any(name in item.metrics for item in rounds)]
    named = "".join(f" {name.replace('_', ' ')} |" for name in metrics)
    lines += ["## Rounds", "", f"| round | updates | examples |{named} SHA-256 of the merged weights |"]
    lines += ["|---" * (4 + len(metrics)) + "|"]
    for item in rounds:
        examples = sum(entry.examples for entry in item.manifest)
        values = "".join(f" {item.metrics[name]:.4f} |" if name in item.metrics else " |" for name in metrics)
        lines.append(f"| {item.number} | {len(item.manifest)} | {examples} |{values} `{item.merged_sha256}` |")
    if rounds:
        lines += ["", f"## Updates of round {rounds[-1].number}", "", "| shard | worker | examples | digest |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {entry.shard} | {entry.worker} | {entry.examples} | `{entry.update.digest}` |"
            for entry in rounds[-1].manifest
        ]
    lines += ["", f"`trainnet jobs verify {job.name}` recomputes the merged weights from these updates.", ""]
    return "\n".join(lines)


def _whole(value: Any) -> Any:
    """The same value with whole numbers as such: a Struct knows doubles only, and 64.0 is no size of a layer."""
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
