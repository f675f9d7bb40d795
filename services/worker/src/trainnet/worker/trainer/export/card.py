"""The model card: README.md, as the hub reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from trainnet.v1 import dataset_pb2
from trainnet.v1.task_pb2 import ExportSpec, RoundRecord
from trainnet.worker.trainer.export.plain import CNN_LOADER, MLP_LOADER
from trainnet.worker.trainer.export.provenance import started_from
from trainnet.worker.trainer.models.families import FAMILIES

_TASKS = {
    "mlp": "tabular-classification",
    "cnn": "image-classification",
    "mobilenet_v2": "image-classification",
    "vit": "image-classification",
    "distilbert": "text-classification",
    "bert": "text-classification",
    "gpt2": "text-generation",
    "whisper": "automatic-speech-recognition",
}
_MOST_ROWS = 50
_METRICS = ("accuracy", "perplexity", "word_error_rate", "loss")


def write(spec: ExportSpec, files: Sequence[str], weights_sha256: str) -> str:
    """The whole card. `files` are the folder's others."""
    sections = [
        _front_matter(spec),
        f"# {_text(spec.display_name or spec.model.architecture)}\n\n{_summary(spec)}",
        _loading(spec),
        _data(spec),
        _training(spec),
        _results(spec, files),
        _provenance(spec, weights_sha256),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(spec: ExportSpec) -> str:
    architecture = spec.model.architecture
    lines = [f"library_name: {'transformers' if architecture in FAMILIES else 'trainnet'}"]
    task = _TASKS.get(architecture)
    if task:
        lines.append(f"pipeline_tag: {task}")
    lines += ["tags:", "- trainnet", "- distributed-training", f"- {architecture}"]
    if spec.base.WhichOneof("source") == "hub":
        lines.append(f"base_model: {_yaml(spec.base.hub.partition('@')[0])}")
    metrics = _metrics_of(spec)
    if task and metrics:
        lines += ["model-index:", f"- name: {_yaml(spec.display_name or architecture)}", "  results:"]
        lines += ["  - task:", f"      type: {task}"]
        dataset = _yaml(spec.dataset_name or "data set")
        lines += ["    dataset:", f"      name: {dataset}", f"      type: {dataset}", "    metrics:"]
        for name in _METRICS:
            if name in metrics:
                kind = {"word_error_rate": "wer"}.get(name, name)
                lines += [f"    - type: {kind}", f"      value: {metrics[name]:.6g}"]
    return "---\n" + "\n".join(lines) + "\n---"


def _summary(spec: ExportSpec) -> str:
    start = started_from(spec.base)
    origin = "from scratch" if start == "scratch" else f"starting from `{_code(start)}`"
    parts = [
        f"`{spec.model.architecture}`, trained {origin} on {_text(spec.dataset_name or 'a data set')}",
        f"in {spec.round} rounds over {len(spec.shard_rows) or spec.plan.shards} shards with TrainNet.",
    ]
    metrics = _metrics_of(spec)
    said = [f"{name.replace('_', ' ')} {metrics[name]:.4g}" for name in _METRICS if name in metrics]
    if said:
        parts.append(f"On the {spec.holdout_rows:,} rows that were held out: {', '.join(said)}.")
    return " ".join(parts)


def _loading(spec: ExportSpec) -> str:
    architecture = spec.model.architecture
    if architecture == "noop":
        return ""
    family = FAMILIES.get(architecture)
    if family is None:
        code = MLP_LOADER if architecture == "mlp" else CNN_LOADER
    else:
        processor = {"text": "AutoTokenizer", "imag": "AutoImageProcessor", "auto": "AutoProcessor"}
        reader = processor[_TASKS[architecture][:4]]
        code = (
            f"from transformers import {family.auto_class}, {reader}\n\n"
            f'model = {family.auto_class}.from_pretrained("FOLDER")\n'
            f'inputs = {reader}.from_pretrained("FOLDER")\n'
        )
    return f"## Use\n\n`trainnet predict FOLDER INPUT` runs it; in Python:\n\n```python\n{code}```"


def _data(spec: ExportSpec) -> str:
    schema, plan = spec.model.schema, spec.plan
    if not schema.rows and not schema.columns:
        return ""
    lines = [f"## Data\n\n{_text(spec.dataset_name or 'The data set')}: {schema.rows:,} rows."]
    kind = dataset_pb2.ShardKind.Name(plan.kind).removeprefix("SHARD_KIND_").lower().replace("unspecified", "iid")
    dealt = f"Dealt out {kind}" + (f" (alpha {plan.alpha:g})" if plan.alpha else "")
    lines.append(
        f"{dealt} to {len(spec.shard_rows) or plan.shards} shards with seed {plan.seed}; "
        f"{spec.holdout_rows:,} rows were held out."
    )
    columns = [
        (_text(column.name), dataset_pb2.ColumnKind.Name(column.kind).removeprefix("COLUMN_KIND_").lower(), missing)
        for column in schema.columns
        for missing in [f"{column.missing:,}"]
    ]
    lines.append(_table(("column", "kind", "missing"), columns))
    if schema.classes and spec.model.architecture != "gpt2":
        lines.append(f"The label is `{_code(schema.label)}`.")
        lines.append(_table(("class", "rows"), [(_text(item.name), f"{item.rows:,}") for item in schema.classes]))
    elif schema.label_is_text:
        lines.append(f"The text to learn is `{_code(schema.label)}`.")
    lines += [f"- {_text(warning)}" for warning in schema.warnings]
    return "\n\n".join(lines)


def _training(spec: ExportSpec) -> str:
    passes = "one pass" if spec.epochs <= 1 else f"{spec.epochs} passes"
    work = f"{spec.local_steps} optimiser steps" if spec.local_steps else passes
    values = []
    for name, value in sorted(spec.model.hyperparameters.fields.items()):
        match value.WhichOneof("kind"):
            case "number_value":
                values.append((f"`{name}`", f"{value.number_value:g}"))
            case "string_value" if value.string_value:
                values.append((f"`{name}`", _text(value.string_value)))
            case "bool_value":
                values.append((f"`{name}`", str(value.bool_value).lower()))
            case "list_value":
                values.append((f"`{name}`", ", ".join(f"{item.number_value:g}" for item in value.list_value.values)))
    table = _table(("hyperparameter", "value"), values, most=len(values))
    shards = f"; {_text(spec.participation)}" if spec.participation else ""
    merged = f"merged by `{_code(spec.merge)}`" if spec.merge else "merged"
    travelled = f" Updates travelled as `{_code(spec.codec)}`." if spec.codec else ""
    said = f"In each of {spec.round} rounds {work} over every shard{shards}, then {merged}.{travelled}"
    return f"## Training\n\n{said}\n\n{table}"


def _results(spec: ExportSpec, files: Sequence[str]) -> str:
    names = [name for name in _METRICS if any(name in record.metrics for record in spec.rounds)]
    rows = [
        (
            "start" if record.number == 0 else str(record.number),
            f"{record.train_loss:.4f}" if record.number and record.train_loss else "",
            *(f"{record.metrics[name]:.4f}" if name in record.metrics else "" for name in names),
        )
        for record in _thinned(spec.rounds)
    ]
    heads = ("round", "training loss", *(f"holdout {name.replace('_', ' ')}" for name in names))
    parts = ["## Results", _table(heads, rows)]
    parts += [f"![{name.removesuffix('.png')}]({name})" for name in files if name.endswith(".png")]
    size = len(spec.confusion.classes)
    if 0 < size <= 20:
        counts = spec.confusion.counts
        grid = [
            (_text(name), *(str(count) for count in counts[row * size : (row + 1) * size]))
            for row, name in enumerate(spec.confusion.classes)
        ]
        parts.append("Rows are the true classes, columns the predicted ones:")
        parts.append(_table(("", *(_text(name) for name in spec.confusion.classes)), grid))
    return "\n\n".join(parts)


def _provenance(spec: ExportSpec, weights_sha256: str) -> str:
    rows = [
        (str(record.number), f"`{record.merged_sha256}`", str(len(record.updates) or ""))
        for record in _thinned(spec.rounds)
        if record.number
    ]
    lines = [
        "## Provenance",
        (
            f"Initial weights `{spec.initial_digest}`, merged weights of round {spec.round} `{spec.weights.digest}`, "
            f"`model.safetensors` SHA-256 `{weights_sha256}`. "
            "`provenance.json` has all of this for programs."
        ),
        _table(("round", "merged SHA-256", "updates"), rows),
    ]
    last = spec.rounds[-1] if spec.rounds else RoundRecord()
    updates = [
        (str(update.shard), _text(update.worker), f"{update.examples:,}", f"`{update.digest}`")
        for update in last.updates
    ]
    if updates:
        lines += [f"Updates of round {last.number}:", _table(("shard", "worker", "rows", "digest"), updates)]
    return "\n\n".join(line for line in lines if line)


def _metrics_of(spec: ExportSpec) -> dict[str, float]:
    """Of the exported round."""
    return next((dict(record.metrics) for record in reversed(spec.rounds) if record.number == spec.round), {})


def _thinned(rounds: Sequence[RoundRecord]) -> list[RoundRecord]:
    """The first and the newest ones, so that a table can be read."""
    return list(rounds) if len(rounds) <= _MOST_ROWS else [*rounds[:5], *rounds[5 - _MOST_ROWS :]]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], most: int = _MOST_ROWS) -> str:
    found = list(rows)
    if not found:
        return ""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(row)} |" for row in found[:most]]
    if len(found) > most:
        lines.append(f"\n… and {len(found) - most:,} more.")
    return "\n".join(lines)


def _text(value: str) -> str:
    """What people wrote, so that none of it is taken for markup."""
    flat = " ".join(value.split())[:200]
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#!$" else letter for letter in flat)


def _code(value: str) -> str:
    return " ".join(value.split())[:200].replace("`", "'").replace("|", "\\|")


def _yaml(value: str) -> str:
    """A JSON string is a YAML one."""
    return json.dumps(" ".join(value.split())[:200], ensure_ascii=False)
