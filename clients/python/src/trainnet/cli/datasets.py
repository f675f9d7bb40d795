"""`trainnet datasets …`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainnet.cli._context import connect
from trainnet.cli._facts import dataset_facts
from trainnet.cli._output import AsJson, Yes, ago, confirm, count, print_facts, print_json, print_table, size
from trainnet.cli._reading import FILES, SPLIT, Format, Kinds, Label, SplitColumn, parse_kinds
from trainnet.client import ConfigurationError

if TYPE_CHECKING:
    from trainnet.client import Dataset

app = typer.Typer(help="Upload data, see what was understood of it, delete it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="DATASET", help="Its name, with or without `datasets/`.")]


@app.command()
def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILES)],
    label: Label = None,
    kind: Kinds = None,
    split_column: SplitColumn = None,
    data_format: Format = None,
    name: Annotated[str | None, typer.Option(help="What to call it.", show_default="the file's name")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until its columns are understood.")] = True,
    as_json: AsJson = False,
) -> None:
    """Upload a file, or a folder of class folders. After a break the same command goes on where it stopped."""
    from trainnet.cli._transfer import TransferDisplay

    client = connect(context)
    with TransferDisplay() as display:
        dataset = client.upload_dataset(
            file,
            label,
            name,
            format=data_format,
            kinds=parse_kinds(kind),
            split_column=split_column,
            progress=display.transfer,
        )
        if wait:
            dataset.wait(watch=display.dataset)
    _show(dataset, as_json=as_json)


@app.command("list")
def list_datasets(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Most to list, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List data sets, newest first."""
    found = list(islice(connect(context).datasets.list(), limit))
    if as_json:
        print_json({"datasets": [dataset_facts(dataset) for dataset in found]})
        return
    print_table(
        ["dataset", "name", "state", ">rows", "label", ">size", "created", ""],
        (
            (
                dataset.name.removeprefix("datasets/"),
                dataset.display_name,
                str(dataset.state),
                f"{dataset.schema.rows:,}" if dataset.schema else "",
                dataset.schema.label if dataset.schema else "",
                size(dataset.size_bytes),
                ago(dataset.create_time),
                dataset.message,
            )
            for dataset in found
        ),
        empty="no data sets yet: `trainnet datasets upload FILE`",
    )


@app.command()
def show(context: typer.Context, dataset: Name, as_json: AsJson = False) -> None:
    """Show what was understood of a data set."""
    _show(connect(context).datasets.get(dataset), as_json=as_json)


@app.command()
def edit(
    context: typer.Context,
    dataset: Name,
    label: Annotated[str | None, typer.Option(help="Column to learn; `-`: none, an empty text: infer it.")] = None,
    kind: Kinds = None,
    split_column: Annotated[str | None, typer.Option(help=SPLIT)] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is understood anew.")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what was understood wrong: the data are inspected again. Jobs that exist keep what they have."""
    from trainnet.cli._transfer import TransferDisplay

    if label is None and split_column is None and not kind:
        raise ConfigurationError("nothing to change", hint="say --label, --kind COLUMN=KIND or --split-column")
    found = connect(context).datasets.get(dataset)
    found.update(label=label, kinds=parse_kinds(kind), split_column=split_column)
    if wait:
        with TransferDisplay() as display:
            found.wait(watch=display.dataset)
    _show(found, as_json=as_json)


@app.command()
def delete(context: typer.Context, dataset: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a data set for good: the uploaded file and its shards. Jobs that have ended stay, with their models."""
    found = connect(context).datasets.get(dataset)
    what = f"{found.display_name}, {size(found.size_bytes)}"
    confirm(f"Delete {found.name} ({what}) for good, with all its shards?", yes=yes)
    found.delete()
    if as_json:
        print_json({"dataset": found.name, "deleted": True})
    else:
        print(f"deleted {found.name}")


def _show(dataset: Dataset, *, as_json: bool) -> None:
    if as_json:
        print_json(dataset_facts(dataset))
        return
    from trainnet.cli._profile import describe_image, describe_rows, print_profile

    schema, profile = dataset.schema, dataset.profile
    facts = {
        "dataset": dataset.name,
        "name": dataset.display_name,
        "state": str(dataset.state) + (f": {dataset.message}" if dataset.message else ""),
        "format": f"{dataset.format}, {size(dataset.size_bytes)}",
        "created": ago(dataset.create_time),
    }
    if schema is not None:
        facts["rows"] = describe_rows(schema.rows, profile)
        facts["label"] = schema.label + (" (text to be learnt)" if schema.label_is_text else "") or "none"
        facts["images"] = describe_image(schema)
        if schema.split_column:
            facts["split"] = f"{schema.split_column} holds out {count(schema.split_holdout_rows, 'row')}"
        facts |= {f"warning {index}": text for index, text in enumerate(schema.warnings, start=1)}
    print_facts(facts)
    if profile is not None:
        print()
        print_profile(profile)
