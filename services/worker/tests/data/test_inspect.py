from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_iris

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
)
from trainnet.worker.errors import TaskError


def kinds(schema: Any) -> dict[str, int]:
    return {column.name: column.kind for column in schema.columns}


def test_a_csv_of_numbers_with_the_label_last(tasks: Any, iris_csv: Path) -> None:
    schema = tasks.inspect(iris_csv)
    assert schema.label == "species"
    assert [(label.name, label.rows) for label in schema.classes] == [
        ("setosa", 50),
        ("versicolor", 50),
        ("virginica", 50),
    ]
    assert schema.rows == 150
    assert set(kinds(schema).values()) == {COLUMN_KIND_NUMERIC}
    data = load_iris().data
    assert [column.mean for column in schema.columns] == pytest.approx(data.mean(axis=0))
    assert [column.deviation for column in schema.columns] == pytest.approx(data.std(axis=0))
    assert list(schema.warnings) == ["1 row repeats an earlier one"]  # iris is known for it


def test_a_parquet_file_with_a_column_called_target(tasks: Any, cancer_parquet: Path) -> None:
    schema = tasks.inspect(cancer_parquet)
    assert schema.label == "target"
    assert [label.name for label in schema.classes] == ["0", "1"]
    assert len(schema.columns) == 30


def test_images_and_their_shape(tasks: Any, digits_parquet: Path) -> None:
    schema = tasks.inspect(digits_parquet)
    assert kinds(schema) == {"image": COLUMN_KIND_IMAGE}
    assert (schema.image.height, schema.image.width, schema.image.channels) == (8, 8, 1)
    assert [label.name for label in schema.classes] == [str(digit) for digit in range(10)]


def test_images_as_hugging_face_writes_them(tasks: Any, digits_parquet: Path, tmp_path: Path) -> None:
    plain = pq.read_table(digits_parquet)
    structs = [{"bytes": data, "path": None} for data in plain.column("image").to_pylist()]
    pq.write_table(pa.table({"image": structs, "label": plain.column("label")}), tmp_path / "hf.parquet")
    assert tasks.inspect(tmp_path / "hf.parquet") == tasks.inspect(digits_parquet)


def test_kinds_of_columns(tasks: Any, tmp_path: Path) -> None:
    lines = ["id,size,colour,note,same,gap,when,label"]
    words = "this is a longer text about row number"
    lines += [
        f"{row},{row / 7},{['red', 'blue', 'NA'][row % 3]},{words} {row},1,{'' if row % 2 else row},x{row},{row % 2}"
        for row in range(300)
    ]
    path = tmp_path / "kinds.csv"
    path.write_text("\n".join(lines))
    schema = tasks.inspect(path)
    assert kinds(schema) == {
        "id": COLUMN_KIND_IGNORED,
        "size": COLUMN_KIND_NUMERIC,
        "colour": COLUMN_KIND_CATEGORICAL,
        "note": COLUMN_KIND_TEXT,
        "same": COLUMN_KIND_IGNORED,
        "gap": COLUMN_KIND_NUMERIC,
        "when": COLUMN_KIND_IGNORED,
    }
    colour, gap = schema.columns[2], schema.columns[5]
    assert list(colour.categories) == ["blue", "red"]
    assert (colour.missing, gap.missing) == (100, 150)
    assert gap.mean == pytest.approx(np.arange(0, 300, 2).mean())
    assert len(schema.warnings) == 3


def test_the_owner_names_the_label(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("label,kind,x\n1,a,1\n2,b,2\n2,a,3\n")
    assert tasks.inspect(path).label == "label"
    assert tasks.inspect(path, "kind").label == "kind"


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_quotes(tasks: Any, tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    rows = [["x", '"a, b"', "c", "y"]]
    rows += [[str(row), str(row * row), '"two\nlines"' if row % 2 else "one", "ab"[row % 2]] for row in range(20)]
    path.write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8-sig")
    schema = tasks.inspect(path)
    assert [column.name for column in schema.columns] == ["x", "a, b", "c"]
    assert list(schema.columns[2].categories) == ["one", "two\nlines"]
    assert schema.rows == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,label\n", "no rows"),
        (b"\n\n", "no lines"),
        (b"PAR1....", "not CSV but a Parquet file"),
        (b"PK\x03\x04....", "not CSV but a zip archive"),
        (b"a,label\n1,\x00\n", "binary data"),
        (b"a,label\n1,x\n2\n3,y\n", "line 3 has 1 values, the header has 2"),
        (b"a,label\n1,x\n2,\xe9\n", "line 3 is not UTF-8"),
        (b"\xe9,label\n1,x\n", "line 1 is not UTF-8"),
        (b"1,2\n3,4\n5,6\n", "line 1 holds numbers (1, 2, …) instead of column names"),
        (b"a,a,label\n1,2,x\n3,4,y\n", "column 'a' appears twice"),
        (b"label\nx\ny\n", "'label' is the only column"),
        (b"a,label\n1,x\n2,x\n", "'label' has one class only ('x')"),
        (b"a,label\n1,x\n2,\n3,y\n", "row 2 has no value in the label column 'label'"),
        (b"a,label\n1,x\n1,y\n", "no column beside the label"),
        (b"a,b\n" + b"".join(b"%d,%d.5\n" % (n, n) for n in range(30)), "'b' holds measurements"),
        (b"a,b\n" + b"".join(b"%d,u%d\n" % (n, n) for n in range(1500)), "more than 1000 different values"),
        (b"a,label\n1,x\n2,\"y\n" + b"3,z\n" * 10, "runs over several lines"),
    ],
)  # fmt: skip
def test_a_bad_csv_is_one_clear_line(tasks: Any, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        tasks.inspect(path)
    assert caught.value.reason == "TASK"
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_label_that_is_not_there(tasks: Any, iris_csv: Path) -> None:
    with pytest.raises(TaskError, match=r"no label column 'kind'; the columns are sepal length"):
        tasks.inspect(iris_csv, "kind")


def test_bad_parquet_files(tasks: Any, tmp_path: Path, digits_parquet: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(TaskError, match="not Parquet but something else"):
        tasks.inspect(path)
    path.write_bytes(digits_parquet.read_bytes()[:-100])
    with pytest.raises(TaskError, match="the Parquet file is damaged"):
        tasks.inspect(path)
    whole = bytearray(digits_parquet.read_bytes())
    whole[100:5000] = bytes(4900)
    path.write_bytes(whole)
    with pytest.raises(TaskError):
        tasks.inspect(path)
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "label": [0, 1]}), path)
    with pytest.raises(TaskError, match="column 'image' holds string, not the bytes"):
        tasks.inspect(path)
    pq.write_table(pa.table({"image": [b"x", b"y"]}), path)
    with pytest.raises(TaskError, match="no label column: 'image' is the only column"):
        tasks.inspect(path)
    pq.write_table(pa.table({"x": [1.0, 2.0], "label": [[1], [2]]}), path)
    with pytest.raises(TaskError, match="cannot be a label"):
        tasks.inspect(path)


@pytest.mark.parametrize("damage", [b"no image", b"\x89PNG\r\n\x1a\n broken", None, "truncated"])
def test_an_image_that_cannot_be_decoded_is_named_by_its_row(
    tasks: Any, tmp_path: Path, digits_parquet: Path, damage: Any
) -> None:
    table = pq.read_table(digits_parquet).slice(0, 20)
    images = table.column("image").to_pylist()
    images[12] = images[12][:60] if damage == "truncated" else damage
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), "label": table.column("label")}), path)
    with pytest.raises(TaskError, match=r"row 13 .*column 'image'"):
        tasks.inspect(path)
