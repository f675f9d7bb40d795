"""CSV, JSON, JSONL and plain text: what is read, and one clear line where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    DATASET_FORMAT_JSONL,
    DATASET_FORMAT_TEXT,
    ShardPlan,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.sources.csv_file import CsvSource
from trainnet.worker.trainer.data.sources.json_file import JsonArraySource, JsonLinesSource
from trainnet.worker.trainer.data.sources.opening import open_source
from trainnet.worker.trainer.data.sources.source import Wanted

ROWS = [
    {"size": row / 4, "colour": ["red", "blue"][row % 2], "note": f"a longer note about number {row}", "label": row % 3}
    for row in range(200)
]


def table_of(source: Any, wanted: Wanted | None = None) -> pa.Table:
    return pa.Table.from_batches(list(source.batches(wanted)))


def test_the_same_rows_in_every_format_are_the_same_data(tasks: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=1))
    (tmp_path / "a.csv").write_text("\n".join([",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    found = [tasks.inspect(tmp_path / f"a.{suffix}") for suffix in ("jsonl", "json", "csv", "parquet")]
    assert all(schema == found[0] for schema in found)
    assert [column.kind for column in found[0].columns] == [
        COLUMN_KIND_NUMERIC,
        COLUMN_KIND_CATEGORICAL,
        COLUMN_KIND_TEXT,
    ]
    plan = ShardPlan(shards=3, holdout_fraction=0.1, seed=5)
    outputs = [tasks.cut(tmp_path / f"a.{suffix}", found[0], plan)[1] for suffix in ("jsonl", "json", "csv", "parquet")]
    first = {name: output.part_sha256 for name, output in outputs[0].items()}
    assert sorted(first) == ["holdout", "sample", "shard-0", "shard-1", "shard-2"]
    for others in outputs[1:]:
        assert {name: output.part_sha256 for name, output in others.items()} == first


def test_fields_that_some_objects_miss_and_numbers_as_they_are_spelt(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"a": 1.50, "b": true}\n\n{"c": "x", "a": 12345678901234567890}\n{"a": null}\n')
    rows = table_of(JsonLinesSource(path, None)).to_pylist()
    assert rows == [
        {"a": "1.50", "b": "true", "c": None},
        {"a": "12345678901234567890", "b": None, "c": "x"},
        {"a": None, "b": None, "c": None},
    ]


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"])))
_OBJECTS = st.lists(st.fixed_dictionaries({"k": _VALUES, 'q"\n': _VALUES}), min_size=1, max_size=20)


@given(_OBJECTS, st.sampled_from([None, 0, 2]), st.booleans())
def test_any_array_of_plain_objects_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, objects: Any, indent: int | None, ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(objects, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")

    def text(value: Any) -> str | None:
        return (
            {True: "true", False: "false"}[value] if isinstance(value, bool) else None if value is None else str(value)
        )

    expected = [{key: text(value) for key, value in item.items()} for item in objects]
    assert table_of(JsonArraySource(path, None)).to_pylist() == expected


def test_an_element_that_runs_over_the_pieces_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    objects = [{"a": "ä" * (900_000 if row % 3 == 1 else 10), "b": str(row)} for row in range(9)]
    path.write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8")
    assert table_of(JsonArraySource(path, None)).to_pylist() == objects


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": 2\n', "line 2 is not a JSON object: Expecting ',' delimiter"),
        (b'{"a": 1}\n\n[2]\n', "line 3 is not a JSON object: it begins with '[2]'"),
        (b'[{"a": 1}]', "name the format JSON"),
        (b'{"a": 1}\n{"a": {"b": 2}}\n', "line 2: field 'a' holds an object"),
        (b'{"a": 1}\n{"a": [2]}\n', "line 2: field 'a' holds a list"),
        (b'{"a": 1}\n{"a": "\xe9"}\n', "line 2 is not UTF-8; save the file as UTF-8"),
        (b'{"a": "\\ud800", "label": 1}\n', "surrogate"),
        (b'{"": 1}\n', "a field has no name"),
        (b"\n\n", "the file has no rows"),
        (b'{"a": 1}\n' + b'{"a": "' + b"x" * (5 << 20) + b'"}\n', "line 2 is longer than 4 MiB"),
        (b"[" * 100_000, "name the format JSON"),
        (b'{"a":' * 100_000, "line 1 is not a JSON object: it is nested too deeply"),
        ('{"a": 1}\n'.encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        ('{"a": 1}\n'.encode("utf-16-le"), "the file is UTF-16; save it as UTF-8"),
        (b"PK\x03\x04", "not JSONL but a zip archive"),
    ],
)
def test_bad_jsonl(tasks: Any, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        tasks.inspect(path)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}', "name the format JSONL"),
        (b"17", "not one JSON array of objects: it begins with '1'"),
        (b"[]", "the file has no rows"),
        (b'[{"a": 1}]\n[{"a": 2}]', "the file goes on behind its array, with '['"),
        (b'[{"a": 1}, 2]', "element 2 is not a JSON object: it begins with '2'"),
        (b'[{"a": 1}, {"a": 2]', "element 2 is not a JSON object: Expecting ',' delimiter"),
        (b'[{"a": 1} {"a": 2}]', "element 1 is followed by '{' where"),
        (b'[{"a": 1}', "element 1 is followed by 'the end of the file'"),
        (b'[{"a": 1},', "element 2 is not a JSON object: the file ends before it"),
        (b'[{"a": 1}, {"a": [1]}]', "element 2: field 'a' holds a list"),
        (b'[{"a": 1},\n{"a": "\xe9"}]', "line 2 is not UTF-8"),
        (b'[{"a": 1}, {"a": "' + b"x" * (6 << 20) + b'"}]', "element 2 is not a JSON object: longer than 4 MiB"),
        (b"[" + b'{"a":' * 100_000, "element 1 is not a JSON object: it is nested too deeply"),
    ],
)
def test_bad_json(tasks: Any, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        tasks.inspect(path)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,label\n1,é\n2,x\n".encode("latin-1"), "line 2 is not UTF-8; save the file as UTF-8, for example: iconv"),
        ("a,label\n1,é\n".encode() * 3000 + "2,é\n".encode("latin-1"), "line 6001 is not UTF-8"),
        ("a,label\n1,é\n2,x\n".encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        (b'a,label\n1,"x\ny\nz"\n\n2,x,3\n', "line 6 has 3 values, the header has 2"),
        (b'a,label\n1,x\n2,"' + b"y" * (9 << 20) + b'"\n', "a line is longer than 4 MiB"),
        (b"\xfd7zXZ\x00", "not CSV but an xz file"),
    ],
)
def test_bad_csv(tasks: Any, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        tasks.inspect(path)
    assert message in caught.value.message


def test_a_csv_is_read_in_the_cheapest_form_that_means_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeff\n n ,c,\n1,"NA",x\n NaN ,b,y\n NA ,,z\n?,b,\n')
    source = CsvSource(path)
    assert list(source.columns) == ["n", "c", "column_3"]
    found = table_of(source, Wanted(("c", "n"), coded=frozenset({"c"}), numbers=frozenset({"n"}))).to_pydict()
    # ` NA ` with blanks is no number to the fast reader: it starts over as text.
    assert found == {"c": ["NA", "b", "", "b"], "n": ["1", " NaN ", " NA ", "?"]}
    path.write_text("n,c\n1,x\n,y\n?,z\n1e3,w\n")
    found = table_of(CsvSource(path), Wanted(("n",), numbers=frozenset({"n"}))).to_pydict()
    assert found == {"n": [1.0, None, None, 1000.0]}


def test_plain_text_is_cut_between_paragraphs(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    paragraphs = [
        f"Chapter {number}\r\n" + "It was a dark and stormy night. " * (number % 7 + 1) for number in range(900)
    ]
    path.write_text("\ufeff" + "\r\n\r\n".join(paragraphs), encoding="utf-8", newline="")
    schema = tasks.inspect(path)
    assert [(column.name, column.kind) for column in schema.columns] == [("text", COLUMN_KIND_TEXT)]
    assert not schema.label
    rows = table_of(open_source(path, DATASET_FORMAT_TEXT)).column("text").to_pylist()
    assert len(rows) == schema.rows > 100
    assert "\n\n".join(rows) == "\n\n".join(paragraphs).replace("\r\n", "\n")
    assert all(row.startswith("Chapter") for row in rows)
    _, result, outputs = tasks.prepare(path, shards=4)
    assert sorted(outputs) == ["holdout", "sample", *(f"shard-{index}" for index in range(4))]
    assert sum(result.shard_rows) + result.holdout_rows == schema.rows
    assert pq.read_table(outputs["shard-0"].path).column_names == ["text"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1), st.integers(1, 4000))
def test_plain_text_loses_nothing_but_line_ends_between_rows(
    tmp_path_factory: pytest.TempPathFactory, text: str, times: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(text * times, encoding="utf-8", newline="")
    rows = [row for batch in open_source(path, DATASET_FORMAT_TEXT).batches() for row in batch.column(0).to_pylist()]
    assert "".join(rows).split() == (text * times).split() or "".join("".join(rows).split()) == "".join(
        (text * times).split()
    )
    assert all(row.strip() and len(row.encode()) <= 5 * 4096 for row in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\n" * 600_000 + b"caf\xe9\n", "line 600001 is not UTF-8"),
        (b"text " * 300_000 + b"\0", "binary data"),
        ("plain words".encode("utf-16-be"), "UTF-16"),
        (b"%PDF-1.7", "not plain text but a PDF"),
        (b" \n\n \n", "the data set has no rows"),
    ],
)
def test_bad_plain_text(tasks: Any, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        tasks.inspect(path)
    assert message in caught.value.message


def test_columns_that_are_known_spare_jsonl_a_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "b": 2}\n{"c": 3}\n')
    source = open_source(path, DATASET_FORMAT_JSONL, ["a", "c"])
    assert list(source.columns) == ["a", "c"]
    with pytest.raises(TaskError, match="no column 'x', which its inspection found"):
        list(source.batches(Wanted(("x",))))


def test_numbers_with_a_few_words_among_them(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{row},{row * 2},{row % 2}" for row in range(500)]
    lines[322] = "unknown,7,1"
    path.write_text("\n".join(["x,z,label", *lines]))
    schema = tasks.inspect(path)
    assert [column.kind for column in schema.columns] == [COLUMN_KIND_IGNORED, COLUMN_KIND_NUMERIC]
    assert any(
        "holds numbers but for 1 of its values, the first 'unknown' in row 323" in line for line in schema.warnings
    )
