"""What the owner may say about a data set, and what INSPECT shows of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_AUDIO,
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    SHARD_KIND_IID,
    SHARD_KIND_STRATIFIED,
    ShardPlan,
)
from trainnet.worker.errors import TaskError


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    lines = ["id,age,zip,remark,weird,part,label"]
    lines += [
        f"{row},{row % 50},{10000 + row % 7},remark {row} of some length here,{'x' if row == 41 else row},"
        f"{'test' if row % 5 == 0 else 'train'},{'yes' if row % 3 else 'no'}"
        for row in range(300)
    ]
    path.write_text("\n".join(lines))
    return path


def kind_of(schema: Any, name: str) -> int:
    return next(int(column.kind) for column in schema.columns if column.name == name)


def test_kinds_that_the_owner_says(tasks: Any, people: Path) -> None:
    before = tasks.inspect(people)
    assert kind_of(before, "zip") == COLUMN_KIND_NUMERIC
    asked = {
        "zip": COLUMN_KIND_CATEGORICAL,
        "id": COLUMN_KIND_NUMERIC,
        "remark": COLUMN_KIND_IGNORED,
        "age": COLUMN_KIND_TEXT,
    }
    schema = tasks.inspect(people, column_kinds=asked)
    assert {name: kind_of(schema, name) for name in asked} == asked
    codes = next(column for column in schema.columns if column.name == "zip")
    assert list(codes.categories) == [str(10000 + number) for number in range(7)]
    _, outputs = tasks.cut(people, schema, ShardPlan(shards=1))
    shard = pq.read_table(outputs["shard-0"].path)
    assert set(shard.column("zip").to_pylist()) == set(codes.categories)
    assert shard.schema.field("age").type == pa.string()
    assert "remark" not in shard.column_names


def test_numbers_of_a_parquet_file_as_categories(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = {"grade": [1, 2, 3, None] * 10, "x": np.arange(40) / 3, "label": [0, 1] * 20}
    pq.write_table(pa.table(table), path)
    schema = tasks.inspect(path, column_kinds={"grade": COLUMN_KIND_CATEGORICAL})
    assert (list(schema.columns[0].categories), schema.columns[0].missing) == (["1", "2", "3"], 10)
    _, outputs = tasks.cut(path, schema, ShardPlan(shards=1))
    assert pq.read_table(outputs["shard-0"].path).column("grade").to_pylist() == ["1", "2", "3", None] * 10


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"column_kinds": {"nope": COLUMN_KIND_TEXT}}, "no column 'nope'; the columns are id, age, zip"),
        ({"column_kinds": {"weird": COLUMN_KIND_NUMERIC}}, "'weird' cannot be numeric: row 42 holds 'x'"),
        ({"column_kinds": {"remark": COLUMN_KIND_CATEGORICAL}}, "'remark' cannot be categorical: it has more than 100"),
        ({"column_kinds": {"age": COLUMN_KIND_IMAGE}}, "column 'age' cannot be image: it holds string"),
        ({"column_kinds": {"age": COLUMN_KIND_AUDIO}}, "column 'age' cannot be audio"),
        ({"column_kinds": {"label": COLUMN_KIND_NUMERIC}}, "column 'label' is the label and cannot be numeric"),
        ({"column_kinds": {"label": COLUMN_KIND_IGNORED}}, "column 'label' is the label and cannot be ignored"),
        ({"label": "nope"}, "no label column 'nope'"),
        ({"split_column": "nope"}, "no split column 'nope'"),
        ({"split_column": "zip"}, "the split column 'zip' holds no rows out; `test` or `validation`"),
        ({"split_column": "part", "label": "part"}, "column 'part' cannot be the label: it is the split column"),
    ],
)
def test_what_cannot_be_names_the_column_and_why(tasks: Any, people: Path, reading: Any, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        tasks.inspect(people, **reading)
    assert message in caught.value.message


def test_no_label(tasks: Any, people: Path, tmp_path: Path) -> None:
    schema = tasks.inspect(people, "-")
    assert not schema.label
    assert not schema.classes
    assert kind_of(schema, "label") == COLUMN_KIND_CATEGORICAL
    _, outputs = tasks.cut(people, schema, ShardPlan(shards=2, holdout_fraction=0.1))
    assert "label" in pq.read_table(outputs["shard-0"].path).column_names
    path = tmp_path / "numbers.csv"
    path.write_text("a,b\n" + "".join(f"{row},{row % 7}\n" for row in range(50)))
    with pytest.raises(TaskError, match="without one only a column of text can be learnt from"):
        tasks.inspect(path, "-")


def test_a_last_column_of_free_text_is_no_label(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,body\n" + "".join(f"{row},this is the story of number {row}\n" for row in range(50)))
    schema = tasks.inspect(path)
    assert not schema.label
    assert kind_of(schema, "body") == COLUMN_KIND_TEXT
    assert any("there is no label: the last column 'body' holds free text" in line for line in schema.warnings)


def test_a_label_that_is_text_because_the_owner_says_so(tasks: Any, people: Path) -> None:
    schema = tasks.inspect(people, "remark", column_kinds={"remark": COLUMN_KIND_TEXT})
    assert (schema.label, schema.label_is_text, len(schema.classes)) == ("remark", True, 0)
    _, outputs = tasks.cut(people, schema, ShardPlan(shards=1))
    assert pq.read_table(outputs["sample"].path).column_names == ["remark"]
    with pytest.raises(TaskError, match="no label of classes"):
        tasks.cut(people, schema, ShardPlan(kind=SHARD_KIND_STRATIFIED, shards=1))


@pytest.mark.parametrize("name", ["split", "Split"])
def test_a_column_called_split_is_the_split(tasks: Any, people: Path, name: str) -> None:
    people.write_text(people.read_text().replace(",part,", f",{name},"))
    schema = tasks.inspect(people)
    assert (schema.split_column, schema.split_holdout_rows) == (name, 60)
    assert kind_of(schema, name) == COLUMN_KIND_IGNORED
    result, outputs = tasks.cut(people, schema, ShardPlan(shards=3, holdout_fraction=0.9, seed=2))
    assert (list(result.shard_rows), result.holdout_rows) == ([80, 80, 80], 60)
    held = pq.read_table(outputs["holdout"].path)
    assert held.column("remark").to_pylist() == [f"remark {row} of some length here" for row in range(0, 300, 5)]
    schema = tasks.inspect(people, split_column="-")
    assert not schema.split_column
    assert kind_of(schema, name) == COLUMN_KIND_CATEGORICAL


def test_a_column_called_split_that_is_something_else(tasks: Any, people: Path) -> None:
    people.write_text(people.read_text().replace(",part,", ",split,").replace(",train,", ",of wood,"))
    schema = tasks.inspect(people)
    assert not schema.split_column
    assert any("'split' is not taken as the split, as it holds 'of wood' too" in line for line in schema.warnings)
    assert tasks.inspect(people, split_column="split").split_holdout_rows == 60


def test_classes_of_held_out_rows_only(tasks: Any, people: Path) -> None:
    lines = people.read_text().replace(",part,", ",split,").splitlines()
    lines[1] = lines[1].replace(",no", ",maybe")
    people.write_text("\n".join(lines))
    with pytest.raises(TaskError, match=r"classes that stand in held-out rows only \('maybe'\)"):
        tasks.inspect(people)


def test_a_class_that_chance_holds_out(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,label\n" + "".join(f"{row},{'rare' if row == 7 else row % 2}\n" for row in range(20)))
    schema = tasks.inspect(path)
    assert any("class 'rare' is rare: 1 of 20 rows" in line for line in schema.warnings)
    for seed in range(40):
        stratified = ShardPlan(kind=SHARD_KIND_STRATIFIED, shards=2, holdout_fraction=0.5, seed=seed)
        tasks.cut(path, schema, stratified)

    def hold_out_by_chance() -> None:
        for seed in range(40):
            tasks.cut(path, schema, ShardPlan(shards=2, holdout_fraction=0.5, seed=seed))

    with pytest.raises(TaskError, match="all rows of the class 'rare' were held out"):
        hold_out_by_chance()


def test_the_profile(tasks: Any, people: Path) -> None:
    lines = people.read_text().splitlines()
    people.write_text("\n".join([*lines, *lines[1:11]]))
    result = tasks.look(people)
    profile = result.profile
    columns = {column.name: column for column in profile.columns}
    assert list(columns) == ["id", "age", "zip", "remark", "weird", "part", "label"]
    assert (columns["age"].minimum, columns["age"].maximum, columns["age"].distinct) == (0, 49, 50)
    assert columns["label"].distinct == 2
    assert columns["remark"].distinct == 300
    assert columns["remark"].max_length == len("remark 100 of some length here")
    assert [list(sample.values)[:2] for sample in profile.samples] == [[str(row), str(row)] for row in range(5)]
    assert (profile.duplicate_rows, profile.compared_rows) == (10, 310)
    assert any(line == "10 rows repeat an earlier one" for line in result.schema.warnings)


def test_duplicates_are_counted_in_a_bounded_sample(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = 2_500_000
    x = np.arange(rows) % (rows // 2)  # every row twice
    pq.write_table(pa.table({"x": x, "label": pa.array((x % 2).astype("int8"))}), path)
    profile = tasks.look(path).profile
    assert 500_000 < profile.compared_rows <= 1 << 20
    assert profile.duplicate_rows == profile.compared_rows // 2


def test_a_profile_and_a_schema_have_a_size(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    columns = 1800
    lines = [",".join([*(f"a column with number {index}" for index in range(columns)), "label"])]
    lines += [",".join([*(str(row * index) for index in range(columns)), str(row % 2)]) for row in range(30)]
    path.write_text("\n".join(lines))
    result = tasks.look(path)
    assert len(result.schema.columns) == columns
    assert result.profile.ByteSize() <= 64 * 1024
    assert result.schema.ByteSize() <= 128 * 1024
    path.write_text("\n".join(line.replace("a column", "a column of a very long name" * 3) for line in lines))
    with pytest.raises(TaskError, match="too many columns or categories"):
        tasks.inspect(path)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([3, 1, 2] * 10), ["1", "2", "3"]),
        (pa.array([3.0, 1.0, 2.0] * 10), ["1", "2", "3"]),
        (pa.array([1.5, 1.0, 2.0] * 10), ["1", "1.5", "2"]),
        (pa.array([True, False, True] * 10), ["false", "true"]),
        (pa.array(["b", " a ", "c"] * 10).dictionary_encode(), ["a", "b", "c"]),
        (
            pa.array([18000, 18001, 18002] * 10, pa.int32()).cast(pa.date32()),
            ["2019-04-14", "2019-04-15", "2019-04-16"],
        ),
        (pa.array([b"x", b"y", b"x"] * 10), ["x", "y"]),
    ],
    ids=["integers", "floats", "fractions", "booleans", "dictionary", "dates", "bytes"],
)
def test_labels_of_every_type_keep_their_names(tasks: Any, tmp_path: Path, values: pa.Array, names: list[str]) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(30) / 7, "label": values}), path)
    schema = tasks.inspect(path)
    assert [label.name for label in schema.classes] == names
    for kind in (SHARD_KIND_IID, SHARD_KIND_STRATIFIED):
        _, outputs = tasks.cut(path, schema, ShardPlan(kind=kind, shards=2, seed=1))
        found = [
            label for output in outputs.values() for label in pq.read_table(output.path).column("label").to_pylist()
        ]
        assert {name: found.count(name) for name in names} == {label.name: label.rows for label in schema.classes}


def wav(seconds: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(int(8000 * seconds)) / 9), 8000, format="WAV")
    return buffer.getvalue()


def test_sound_as_hugging_face_writes_it(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    clips = [{"bytes": wav(0.1 + row / 100), "path": f"{row}.wav", "sampling_rate": 8000} for row in range(20)]
    sentences = [f"sentence {row % 4}" for row in range(20)]
    pq.write_table(pa.table({"id": range(20), "clip": clips, "sentence": sentences}), path)
    schema = tasks.inspect(path)
    assert {column.name: column.kind for column in schema.columns} == {
        "id": COLUMN_KIND_IGNORED,
        "clip": COLUMN_KIND_AUDIO,
    }
    assert (schema.label, schema.label_is_text) == ("sentence", True)
    _, outputs = tasks.cut(path, schema, ShardPlan(shards=1))
    shard = pq.read_table(outputs["shard-0"].path)
    assert shard.column("clip").to_pylist() == [clip["bytes"] for clip in clips]
    classes = tasks.inspect(path, column_kinds={"sentence": COLUMN_KIND_CATEGORICAL})
    assert [label.name for label in classes.classes] == [f"sentence {row}" for row in range(4)]


def test_a_column_that_holds_no_files_after_all(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"blob": [b"abc", b"def"] * 10, "tags": [["x"]] * 20, "label": [0, 1] * 10}), path)
    with pytest.raises(TaskError, match="no column beside the label"):
        tasks.inspect(path)
    with pytest.raises(TaskError, match="the image in row 1 of column 'blob' cannot be decoded"):
        tasks.inspect(path, column_kinds={"blob": COLUMN_KIND_IMAGE})
    with pytest.raises(TaskError, match="column 'blob' cannot be text: it holds binary"):
        tasks.inspect(path, column_kinds={"blob": COLUMN_KIND_TEXT})
    with pytest.raises(TaskError, match="column 'tags' cannot be the split: it holds list"):
        tasks.inspect(path, split_column="tags")
