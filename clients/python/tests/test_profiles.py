"""What was understood of data: as values, as JSON, and as a person reads it; and how to correct it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.python.tests.peer import Peer
from trainnet.cli._profile import bar, print_profile, share_room
from trainnet.client import Client, ColumnProfile, DatasetState, InvalidArgument, Profile


def test_a_ready_data_set_has_a_profile(client: Client, table: Path) -> None:
    dataset = client.upload_dataset(table)
    assert dataset.profile is None
    profile = dataset.wait(timeout=10).profile
    assert profile is not None
    x, y = profile.columns
    assert x == ColumnProfile("x", "numeric", 1, 3, 1.0, 3.0, 2.0, 0.8, None, None)
    assert (y.kind, y.distinct, y.minimum) == ("label", 2, None)
    assert profile.samples == ({"x": "1", "y": "a"}, {"x": "2", "y": "a"})
    assert (profile.rows, profile.duplicate_rows, dict(profile.classes)) == (3, 1, {"a": 2, "b": 1})


def test_how_data_are_read_can_be_said_at_first_and_later(client: Client, peer: Peer, table: Path) -> None:
    dataset = client.upload_dataset(table, label="-", kinds={"x": "text", "y": "ignored"}, split_column="part")
    assert (dataset.label, dataset.split_column) == ("-", "part")
    assert dataset.kinds == {"x": "text", "y": "ignored"}
    dataset.wait(timeout=10).update(label="x", kinds={"y": "auto"})
    assert dataset.state is DatasetState.PREPARING
    assert (dataset.label, dataset.kinds, dataset.split_column) == ("x", {"x": "text"}, "part")
    dataset.update(label="", split_column="-")
    assert (dataset.label, dataset.kinds, dataset.split_column) == ("", {"x": "text"}, "-")
    assert peer.datasets[dataset.name].reading.split_column == "-"


def test_another_reading_is_another_data_set(client: Client, table: Path) -> None:
    names = {
        client.upload_dataset(table).name,
        client.upload_dataset(table, kinds={"x": "text"}).name,
        client.upload_dataset(table, kinds={"x": "numeric"}).name,
        client.upload_dataset(table, split_column="x").name,
        client.upload_dataset(table, label="-").name,
    }
    assert len(names) == 5


def test_a_kind_that_there_is_not_is_told(client: Client, peer: Peer, table: Path) -> None:
    with pytest.raises(InvalidArgument, match="column x: 'number' is no kind of column") as caught:
        client.upload_dataset(table, kinds={"x": "number"})
    assert (caught.value.field, caught.value.hint) == ("reading.column_kinds.x", "did you mean numeric?")
    assert not peer.calls


def _column(name: str, kind: str, **values: float) -> ColumnProfile:
    blank = dict.fromkeys(("minimum", "maximum", "mean", "deviation", "mean_length", "max_length"))
    return ColumnProfile(name, kind, missing=0, distinct=1000, **{**blank, **values})


def test_a_person_reads_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    profile = Profile(
        rows=5000,
        columns=(
            _column("income", "numeric", minimum=-12345.6, maximum=1e12, mean=0.25, deviation=0.5),
            _column("picture", "image", mean_length=1500, max_length=2_000_000),
            _column("note", "text", mean_length=12.34, max_length=80),
        ),
        label="y",
        classes={f"class {index}": 100 - index for index in range(25)},
        samples=({"income": "1", "picture": "<PNG 28x28>", "note": "word " * 40},),
        duplicate_rows=0,
        compared_rows=5000,
        warnings=(),
    )
    print_profile(profile)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "-12,346" in out
    assert "1e+12" in out
    assert "mean 0.25 ± 0.5" in out
    assert "1.5 kB, at most 2.0 MB" in out
    assert "12.3 characters, at most 80" in out
    assert "1,000+" in out
    assert "y: 25 classes" in lines
    assert "  and 5 more" in lines
    assert max(len(line) for line in lines[5:]) <= 60, "what can be cut is no wider than the terminal"
    assert lines[-1].startswith("1       <PNG 28x28>  word word")


def test_bars_are_exact_to_an_eighth_and_never_nothing_for_something() -> None:
    assert [bar(share, 4) for share in (0, 1e-9, 0.25, 0.40625, 1)] == ["", "▏", "█", "█▋", "████"]


def test_narrow_columns_get_what_they_need() -> None:
    assert share_room([2, 50, 100], 62) == [2, 30, 30]
    assert share_room([2, 10, 100], 62) == [2, 10, 50]
    assert share_room([9, 9], 4) == [4, 4], "a column of nothing tells nothing"
