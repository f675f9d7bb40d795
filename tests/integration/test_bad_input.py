"""What people do wrong: one clear line that names the field or file and the remedy, and nothing half-created."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command import Command
from tests.support.data import breast_cancer_csv
from tests.support.stacks import Stack

USAGE, NOT_FOUND, DENIED, UNREACHABLE, FAILED = 2, 3, 4, 5, 1


@pytest.fixture(scope="module")
def good(trainnet: Command, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set that is all right."""
    file = breast_cancer_csv(tmp_path_factory.mktemp("good") / "cells.csv")
    name: str = trainnet("datasets", "upload", file, "--json").json["dataset"]
    return name


@pytest.fixture
def nothing_is_made(stack: Stack, good: str) -> Iterator[None]:
    """Jobs and data sets, their rows and objects, are the same before and after."""

    def everything() -> list[object]:
        counts = [
            stack.rows.all(f"SELECT count(*) AS {table} FROM {table}")
            for table in ("jobs", "datasets", "plans", "tasks")
        ]
        return [
            *counts,
            sorted(item.key for prefix in ("datasets/", "jobs/", "uploads/") for item in stack.store.list(prefix)),
        ]

    before = everything()
    yield
    assert everything() == before


@pytest.mark.usefixtures("nothing_is_made")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-a", "mlp", "--shards", "0"], ["--shards", "equal to 1"]),
        (["-a", "mlp", "--shards", "-3"], ["--shards", "equal to 1"]),
        (["-a", "mlp", "--shards", "5000"], ["5000 shards", "455 rows", "use fewer"]),
        (["-a", "mlp", "--rounds", "0"], ["--rounds", "equal to 1"]),
        (["-a", "mlp", "--epochs", "0"], ["--epochs", "equal to 1"]),
        (["-a", "mlp", "--holdout", "1.5"], ["holdout", "0.9"]),
        (["-a", "mpl"], ["architecture", "'mpl'", "mlp"]),
        (["-a", "mlp", "--set", "learning_rate=fast"], ["learning_rate", "number from 1e-07 to 10"]),
        (["-a", "mlp", "--set", "learning_rate=-1"], ["learning_rate", "from 1e-07 to 10"]),
        (["-a", "mlp", "--set", "batch_size=1.5"], ["batch_size", "whole number from 1 to 65536"]),
        (["-a", "mlp", "--set", "batch_size=0"], ["batch_size", "from 1 to 65536"]),
        (["-a", "mlp", "--set", "hidden=big"], ["hidden", "list of whole numbers"]),
        (["-a", "mlp", "--set", "lerning_rate=0.1"], ["lerning_rate", "learning_rate"]),
        (["-a", "mlp", "--set", "learning_rate"], ["learning_rate", "--set learning_rate=0.1"]),
        (["-a", "mlp", "--set", "optimizer=magic"], ["optimizer", "sgd, adamw"]),
        (["-a", "mlp", "--pool", "friends"], ["pool", "friends", "trusted", "public"]),
        (["-a", "cnn"], ["spec.architecture: cnn needs an image column", "use mlp"]),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_value_is_named(trainnet: Command, good: str, arguments: list[str], words: list[str]) -> None:
    trainnet("train", good, *arguments, "--wait", "--json").complaint(USAGE, *words)


@pytest.mark.usefixtures("nothing_is_made")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("liar.parquet", b"a,b,label\n1,2,x\n", ["liar.parquet", "Parquet"]),
        ("cut.parquet", b"PAR1 and then nothing more", ["cut.parquet", "again"]),
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(100), ["picture.csv", "CSV"]),
        ("latin.csv", "größe,label\n1,x\n".encode("latin-1"), ["latin.csv", "UTF-8"]),
        ("empty.csv", b"", ["empty.csv", "empty"]),
        ("header.csv", b"a,b,label\n", ["header.csv", "rows"]),
        ("unknown.xlsx", b"PK\x03\x04", ["unknown.xlsx", "parquet"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_file_that_is_not_what_it_claims(
    trainnet: Command, tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    trainnet("train", file, "-a", "mlp", "--wait", "--json").complaint(USAGE, *words)


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("a,b,label\n1,2,x\n3,4,y\n", ["--label", "colour"], ["colour"]),
        ("a,b,label\n1,2,x\n3,4,x\n", [], ["label", "class"]),
        ("a,b,label\n1,2,x\n3,4\n", [], ["line"]),
    ],
    ids=["no-such-label", "one-class", "ragged"],
)
def test_a_file_that_only_a_reader_finds_bad(
    stack: Stack, trainnet: Command, tmp_path: Path, content: str, arguments: list[str], words: list[str]
) -> None:
    """Training on it leaves neither a data set nor a job; uploaded by itself it stays, FAILED with the reason."""
    jobs, datasets = stack.rows.all("SELECT id FROM jobs"), stack.rows.all("SELECT id FROM datasets")
    file = tmp_path / "data.csv"
    file.write_text(content)
    trainnet("train", file, "-a", "mlp", *arguments, "--wait", "--json").complaint(USAGE, "data.csv", *words)
    assert stack.rows.all("SELECT id FROM jobs") == jobs
    assert stack.rows.all("SELECT id FROM datasets") == datasets
    line = trainnet("datasets", "upload", file, *arguments, "--json").complaint(FAILED, "datasets/", *words)
    failed = next(item for item in trainnet("datasets", "list", "--json").json["datasets"] if item["dataset"] in line)
    assert failed["state"] == "FAILED"
    assert failed["message"] in line
    trainnet("datasets", "delete", failed["dataset"], "--yes")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [], "label": []}, ["rows"]),
        ({"image": [b"no picture", b"none either"], "label": ["x", "y"]}, ["image"]),
        ({"label": ["x", "y"]}, ["column"]),
    ],
    ids=["no-rows", "no-images", "label-only"],
)
def test_a_table_that_nothing_can_be_learned_from(
    stack: Stack, trainnet: Command, tmp_path: Path, columns: dict[str, list[Any]], words: list[str]
) -> None:
    jobs, datasets = stack.rows.all("SELECT id FROM jobs"), stack.rows.all("SELECT id FROM datasets")
    file = tmp_path / "data.parquet"
    pq.write_table(pa.table(columns), file)
    trainnet("train", file, "-a", "mlp", "--wait", "--json").complaint(USAGE, "data.parquet", *words)
    assert stack.rows.all("SELECT id FROM jobs") == jobs
    assert stack.rows.all("SELECT id FROM datasets") == datasets


@pytest.mark.usefixtures("nothing_is_made")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["jobs", "show", "nothing"], NOT_FOUND, ["jobs/nothing", "trainnet jobs list"]),
        (["jobs", "cancel", "nothing"], NOT_FOUND, ["jobs/nothing", "trainnet jobs list"]),
        (["jobs", "verify", "nothing"], NOT_FOUND, ["jobs/nothing", "trainnet jobs list"]),
        (["jobs", "download", "nothing", "--to", "x"], NOT_FOUND, ["jobs/nothing", "trainnet jobs list"]),
        (["jobs", "delete", "nothing", "--yes"], NOT_FOUND, ["jobs/nothing", "trainnet jobs list"]),
        (["datasets", "show", "nothing"], NOT_FOUND, ["datasets/nothing does not exist", "`datasets list`"]),
        (["train", "datasets/nothing", "-a", "mlp"], NOT_FOUND, ["datasets/nothing does not exist", "`datasets list`"]),
        (["train", "nothing.csv", "-a", "mlp"], USAGE, ["nothing.csv", "no such file"]),
        (["train", "-a", "mlp"], USAGE, ["mlp", "data set or a file"]),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else None,
)
def test_a_name_that_does_not_exist(trainnet: Command, arguments: list[str], code: int, words: list[str]) -> None:
    trainnet(*arguments).complaint(code, *words)


@pytest.mark.usefixtures("nothing_is_made")
def test_a_dead_server(trainnet: Command) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        trainnet("--address", address, "jobs", "list").complaint(UNREACHABLE, address)


@pytest.mark.usefixtures("nothing_is_made")
def test_a_wrong_token(stack: Stack, trainnet: Command, good: str) -> None:
    wrong = {"TRAINNET_COORDINATOR": stack.local.endpoints.grpc, "TRAINNET_TOKEN": "wrong"}
    trainnet("jobs", "list", env=wrong).complaint(DENIED, "token", "—")
    trainnet("train", good, "-a", "mlp", env=wrong).complaint(DENIED, "token", "—")
    # A token of somebody who may do other things, but not this.
    assert stack.local.secrets is not None
    other = {**wrong, "TRAINNET_TOKEN": stack.local.secrets.aggregator_token}
    trainnet("jobs", "list", env=other).complaint(DENIED, "token", "—")


@pytest.mark.usefixtures("nothing_is_made")
def test_no_stack_at_all(trainnet: Command, tmp_path: Path) -> None:
    trainnet("jobs", "list", env={"TRAINNET_DATA": str(tmp_path)}).complaint(USAGE, "trainnet up")
