"""Folders arrive as zips that are the same each time, and go on where they stopped."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from clients.python.tests.peer import Peer
from clients.python.tests.store import Store
from trainnet.client import Client, InvalidFile, UploadFailed
from trainnet.client._digest import PART_BYTES
from trainnet.v1 import dataset_pb2


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    for name in ("train/cat/1.png", "train/cat/2.png", "test/dog/1.png", ".DS_Store", "train/Thumbs.db", "__MACOSX/x"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_of_class_folders_is_zipped_on_the_way(client: Client, store: Store, pets: Path) -> None:
    told: list[tuple[str, int, int]] = []
    dataset = client.datasets.upload(pets, progress=lambda *news: told.append(news))
    assert (dataset.display_name, dataset.format) == ("pets", "zip")
    with zipfile.ZipFile(io.BytesIO(store.objects[f"{dataset.name}/0"])) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
        assert [entry.filename for entry in entries] == ["test/dog/1.png", "train/cat/1.png", "train/cat/2.png"]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        assert archive.read("train/cat/2.png") == b"train/cat/2.png"
    assert [what for what, done, total in told if done == total] == ["zip", "hash", "upload", "upload"]


def test_the_same_folder_is_the_same_data_set_whenever_it_was_touched(client: Client, pets: Path) -> None:
    first = client.datasets.upload(pets)
    os.utime(pets / "train/cat/1.png", (0, 0))
    (pets / "train/cat/2.png").chmod(0o600)
    assert client.datasets.upload(pets).name == first.name
    (pets / "train/cat/2.png").write_bytes(b"another")
    assert client.datasets.upload(pets).name != first.name


def test_a_folder_whose_upload_broke_off_goes_on_where_it_stopped(client: Client, store: Store, tmp_path: Path) -> None:
    (tmp_path / "sound" / "a").mkdir(parents=True)
    with (tmp_path / "sound" / "a" / "long.wav").open("wb") as file:
        file.truncate(PART_BYTES + 1000)
    store.faults.extend(["none", *["503"] * 20])
    with pytest.raises(UploadFailed):
        client.datasets.upload(tmp_path / "sound")
    store.faults.clear()
    store.seen.clear()
    told: list[tuple[str, int, int]] = []
    dataset = client.datasets.upload(tmp_path / "sound", progress=lambda *news: told.append(news))
    assert store.seen == [("PUT", f"{dataset.name}/1", "none")]
    assert next(done for what, done, _ in told if what == "upload") == PART_BYTES, "what is stored is told first"


def test_files_that_a_table_tells_of_need_no_class_folders(client: Client, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "1.wav").write_bytes(b"RIFF")
    with pytest.raises(InvalidFile, match="is a folder of files without classes") as caught:
        client.datasets.upload(tmp_path / "speech")
    assert "metadata.csv with a column file_name" in caught.value.hint
    (tmp_path / "speech" / "metadata.csv").write_text("file_name,label\n1.wav,hello\n")
    assert client.datasets.upload(tmp_path / "speech").format == "zip"


def test_nothing_of_a_folder_is_left_out_silently(
    client: Client, peer: Peer, store: Store, pets: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"a fish")
    (pets / "train" / "fish").symlink_to(tmp_path / "elsewhere")
    dataset = client.datasets.upload(pets)
    with zipfile.ZipFile(io.BytesIO(store.objects[f"{dataset.name}/0"])) as archive:
        assert archive.read("train/fish/1.png") == b"a fish"

    (tmp_path / "elsewhere" / "again").symlink_to(pets / "train")
    with pytest.raises(InvalidFile, match="again: is a link to a folder that it lies in"):
        client.datasets.upload(pets)
    (tmp_path / "elsewhere" / "again").unlink()
    (pets / "train" / "cat" / "3.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidFile, match=r"3\.png: is a link to nothing"):
        client.datasets.upload(pets)
    (pets / "train" / "cat" / "3.png").unlink()
    Path(os.fsdecode(os.fsencode(pets / "train") + b"/\xff.png")).write_bytes(b"x")
    with pytest.raises(InvalidFile, match=r"the name train/\\udcff\.png is no UTF-8"):
        client.datasets.upload(pets)
    assert len(peer.datasets) == 1


def test_a_folder_is_no_other_format(client: Client, pets: Path) -> None:
    with pytest.raises(InvalidFile, match="is a folder, not csv"):
        client.datasets.upload(pets, format="csv")


def test_a_job_trains_on_a_folder(client: Client, peer: Peer, pets: Path) -> None:
    job = client.train(pets, "mlp")
    assert (job.dataset, job.display_name) == ("datasets/d1", "pets")
    assert peer.datasets["datasets/d1"].format == dataset_pb2.DATASET_FORMAT_ZIP
