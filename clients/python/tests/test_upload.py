"""Uploads arrive whole, resume where they stopped, and refuse what is plainly the wrong file."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from clients.python.tests.peer import PART, Peer, Refusal
from clients.python.tests.store import Store
from trainnet.client import Client, DatasetFailed, DatasetState, InvalidFile, NotFound, TrainNetError, UploadFailed
from trainnet.v1 import dataset_pb2


def test_a_file_becomes_a_ready_data_set(client: Client, store: Store, table: Path) -> None:
    told: list[tuple[str, int, int]] = []
    dataset = client.datasets.upload(table, label="y", progress=lambda *news: told.append(news)).wait(timeout=10)
    size = table.stat().st_size
    assert store.objects == {f"{dataset.name}/0": table.read_bytes()}
    assert (dataset.state, dataset.display_name, dataset.format) == (DatasetState.READY, "table.csv", "csv")
    assert dataset.schema is not None
    assert (dataset.schema.rows, dict(dataset.schema.classes)) == (3, {"a": 2, "b": 1})
    assert ("hash", size, size) in told
    assert ("upload", size, size) in told


@pytest.mark.parametrize("fault", ["cut", "early", "403", "503"])
def test_a_broken_put_is_repeated_with_a_fresh_grant(
    client: Client, peer: Peer, store: Store, table: Path, fault: str
) -> None:
    store.faults.extend([fault, fault])
    dataset = client.datasets.upload(table)
    assert store.objects[f"{dataset.name}/0"] == table.read_bytes()
    assert peer.calls["GrantDatasetUpload"] == 2


def test_an_interrupted_upload_resumes_at_the_part_where_it_stopped(
    client: Client, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "large.parquet"
    with path.open("wb") as file:
        file.write(b"PAR1")
        file.seek(PART + 1000)
        file.write(b"PAR1")
    store.faults.extend(["none", *["503"] * 20])
    with pytest.raises(UploadFailed, match="503 Ordered") as caught:
        client.datasets.upload(path)
    assert "goes on where it stopped" in caught.value.hint
    store.faults.clear()
    store.seen.clear()
    dataset = client.datasets.upload(path)
    assert store.seen == [("PUT", f"{dataset.name}/1", "none")]
    assert store.objects[f"{dataset.name}/0"] + store.objects[f"{dataset.name}/1"] == path.read_bytes()
    assert len(list(client.datasets.list())) == 1


def test_the_same_file_again_is_the_same_data_set(client: Client, store: Store, table: Path) -> None:
    first = client.datasets.upload(table).wait(timeout=10)
    puts = len(store.seen)
    assert client.datasets.upload(table).name == first.name
    assert len(store.seen) == puts
    others = {client.datasets.upload(table, label="y").name, client.datasets.upload(table, name="other").name}
    assert len(others | {first.name}) == 3


def test_a_failed_data_set_does_not_block_the_file_for_ever(client: Client, peer: Peer, table: Path) -> None:
    failed = client.datasets.upload(table)
    peer.datasets[failed.name].state = dataset_pb2.DATASET_STATE_FAILED
    peer.datasets[failed.name].state_message = "no column is called label"
    with pytest.raises(DatasetFailed, match="no column is called label"):
        failed.refresh().wait(timeout=10)
    again = client.datasets.upload(table)
    assert again.name != failed.name
    assert again.wait(timeout=10).state is DatasetState.READY


def test_an_answer_lost_on_completion_is_asked_for_again(client: Client, peer: Peer, table: Path) -> None:
    peer.order("CompleteDataset", Refusal(grpc.StatusCode.UNAVAILABLE, "restarting"))
    assert client.datasets.upload(table).wait(timeout=10).state is DatasetState.READY


def test_a_part_that_another_upload_stored_meanwhile_is_no_failure(client: Client, store: Store, table: Path) -> None:
    store.objects["datasets/d1/0"] = table.read_bytes()
    assert client.datasets.upload(table).name == "datasets/d1"


def test_a_file_that_changes_while_it_is_uploaded_is_told(
    client: Client, peer: Peer, store: Store, table: Path
) -> None:
    def change(what: str, done: int, total: int) -> None:
        if what == "hash" and done == total:
            table.write_bytes(table.read_bytes().replace(b"1,a", b"9,a"))

    with pytest.raises(UploadFailed, match="it changed while it was uploaded"):
        client.datasets.upload(table, progress=change)
    assert not store.objects


def test_waiting_ends_with_a_timeout_that_says_why(client: Client, peer: Peer, table: Path) -> None:
    peer.ready_after = 10**9
    dataset = client.datasets.upload(table)
    peer.datasets[dataset.name].state_message = "no trusted worker is online"
    with pytest.raises(TrainNetError, match=r"is still PREPARING after 0\.05 s: no trusted worker is online"):
        dataset.wait(timeout=0.05)


def test_lists_page_and_deletion_is_for_good(client: Client, table: Path) -> None:
    names = [client.datasets.upload(table, name=f"n{index}").name for index in range(5)]
    assert [dataset.name for dataset in client.datasets.list()] == names[::-1]
    client.datasets.delete(names[0])
    with pytest.raises(NotFound):
        client.datasets.get(names[0])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n \n\n", "holds blank lines only"),
        ("a.csv", b"x,y\n", "has a single line"),
        ("a.csv", b"PK\x03\x04....", "is no CSV file, it is a zip archive"),
        ("a.csv", b"PAR1....PAR1", "is a Parquet file in spite of its name"),
        ("a.csv", b"x,y\n1,\xe9\n", "is not UTF-8 text \\(byte 6\\)"),
        ("a.csv", "x,y\n1,2\n".encode("utf-16"), "it is UTF-16 text"),
        ("a.csv", b"x,y\n1,\0\n", "is no CSV file"),
        ("a.parquet", b"x,y\n1,2\n", "is no Parquet file"),
        ("a.parquet", b"PAR1 and then it stops", "ends too early"),
        ("a.parquet", b"\x1f\x8b....", "it is gzip-compressed"),
        ("a.tsv", b"x\ty\n", "has a single line"),
        ("a.json", b'{"x": 1}\n{"x": 2}\n', "begins with an object, not with an array"),
        ("a.json", b"x,y\n1,2\n", "is no JSON array of objects"),
        ("a.jsonl", b'[{"x": 1}]', "begins with an array"),
        ("a.ndjson", b"1\n2\n", "does not begin with a JSON object"),
        ("a.zip", b"x,y\n1,2\n", "is no zip archive"),
        ("a.zip", b"PK\x03\x04 and then it stops", "ends too early"),
        ("a.txt", b"caf\xe9\n", "is not UTF-8 text"),
        ("a.xlsx", b"PK\x03\x04", "suffix '.xlsx' is no known format"),
        ("a", b"x,y\n1,2\n", "the name has no suffix"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused_before_any_call(
    client: Client, peer: Peer, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=complaint) as caught:
        client.datasets.upload(path)
    assert caught.value.hint
    assert str(path) in str(caught.value)
    assert not peer.calls


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.tsv", b"x\ty\n1\t2\n", "csv"),
        ("a.json", b'\xef\xbb\xbf [{"x": 1}]', "json"),
        ("a.jsonl", b'\n{"x": 1}\n', "jsonl"),
        ("a.ndjson", b'{"x": 1}', "jsonl"),
        ("A.TXT", b"In the beginning", "text"),
    ],
)
def test_the_name_tells_the_format(client: Client, tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert client.datasets.upload(path).format == told


def test_a_format_that_is_asked_for_wins(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "lines.log"
    path.write_text('{"x": 1}\n')
    assert client.upload_dataset(path, format="ndjson").format == "jsonl"
    assert client.upload_dataset(path, format="text").format == "text"


def test_a_head_that_ends_within_a_character_is_text_all_the_same(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfx,y\n" + b"1," + "é".encode() * 100_000 + b"\n")
    client.datasets.upload(path)


def test_missing_files_and_folders_are_told(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="no such file"):
        client.datasets.upload(tmp_path / "none.csv")
    with pytest.raises(InvalidFile, match="is an empty folder"):
        client.datasets.upload(tmp_path)
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InvalidFile, match="is a folder of files without classes"):
        client.datasets.upload(tmp_path)
    with pytest.raises(InvalidFile, match="unknown format 'xml'"):
        client.datasets.upload(tmp_path / "a.csv", format="xml")
