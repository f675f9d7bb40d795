"""Zips of images and sound: the layouts that people have, and everything that a hostile one may try."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_AUDIO,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_IMAGE,
    SHARD_KIND_STRATIFIED,
    ShardPlan,
)
from trainnet.worker.errors import TaskError


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (9, 7), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sound(number: int, form: str = "WAV", rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(number).normal(0, 0.1, rate // 2), rate, format=form)
    return buffer.getvalue()


Files = Iterable[tuple[str | zipfile.ZipInfo, bytes]]


def make(path: Path, files: Files, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def images(prefix: str = "", classes: str = "abc", each: int = 8) -> list[tuple[str | zipfile.ZipInfo, bytes]]:
    return [
        (f"{prefix}{name}/{index}.png", png(1000 * number + index))
        for number, name in enumerate(classes)
        for index in range(each)
    ]


JUNK: list[tuple[str | zipfile.ZipInfo, bytes]] = [
    ("__MACOSX/a/._0.png", b"junk"),
    (".DS_Store", b"junk"),
    ("a/.hidden.png", b"junk"),
    ("a/Thumbs.db", b"junk"),
]


@pytest.mark.parametrize("prefix", ["", "pets/", "data/pets/"])
def test_images_in_class_folders(tasks: Any, tmp_path: Path, prefix: str) -> None:
    notes: list[tuple[str | zipfile.ZipInfo, bytes]] = [(f"{prefix}README.md", b"notes"), (f"{prefix}a/", b"")]
    path = make(tmp_path / "a.zip", [*JUNK, *notes, *images(prefix)])
    result = tasks.look(path)
    schema = result.schema
    assert (schema.label, schema.rows) == ("label", 24)
    assert [(label.name, label.rows) for label in schema.classes] == [("a", 8), ("b", 8), ("c", 8)]
    assert [(column.name, column.kind) for column in schema.columns] == [("image", COLUMN_KIND_IMAGE)]
    assert (schema.image.height, schema.image.width, schema.image.channels) == (9, 7, 1)
    assert list(result.profile.samples[0].values) == ["<PNG 7x9>", "a"]
    assert [column.name for column in result.profile.columns] == ["image", "label"]


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_train_and_test_folders_are_the_split(tasks: Any, tmp_path: Path, prefix: str) -> None:
    path = make(tmp_path / "a.zip", [*images(f"{prefix}train/"), *images(f"{prefix}test/", each=3), *JUNK])
    schema = tasks.inspect(path)
    assert (schema.split_column, schema.split_holdout_rows, schema.rows) == ("split", 9, 33)
    assert [(column.name, column.kind) for column in schema.columns] == [
        ("image", COLUMN_KIND_IMAGE),
        ("split", COLUMN_KIND_IGNORED),
    ]
    plan = ShardPlan(kind=SHARD_KIND_STRATIFIED, shards=4, holdout_fraction=0.5, seed=1)
    result, outputs = tasks.cut(path, schema, plan)
    assert (list(result.shard_rows), result.holdout_rows) == ([6, 6, 6, 6], 9)
    held = pq.read_table(outputs["holdout"].path)
    assert held.column_names == ["image", "label"]
    assert sorted(held.column("image").to_pylist()) == sorted(data for _, data in images("", each=3))
    assert pq.read_table(outputs["shard-0"].path).column("label").to_pylist().count("a") == 2


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_sound_with_its_text_in_metadata(tasks: Any, tmp_path: Path, form: str) -> None:
    lines = [f'clips/{index}.{form.lower()},"well, number {index}",{index % 2}' for index in range(12)]
    table = "\n".join(["file_name,transcription,speaker", *lines]).encode()
    clips: Files = [(f"clips/{index}.{form.lower()}", sound(index, form)) for index in range(13)]
    path = make(tmp_path / "a.zip", [("metadata.csv", table), *clips])
    result = tasks.look(path)
    schema = result.schema
    assert (schema.label, schema.label_is_text, list(schema.classes), schema.rows) == ("transcription", True, [], 12)
    assert [(column.name, column.kind) for column in schema.columns] == [
        ("audio", COLUMN_KIND_AUDIO),
        ("speaker", COLUMN_KIND_IGNORED),
    ]
    assert result.profile.columns[0].mean_length == pytest.approx(0.5)
    assert result.profile.samples[1].values[0] == f"<{form} 0.5 s>"
    cut, outputs = tasks.cut(path, schema, ShardPlan(shards=2, holdout_fraction=0.2, seed=1))
    shard = pq.read_table(outputs["shard-0"].path)
    assert shard.column_names == ["audio", "transcription"]
    assert shard.column("transcription")[0].as_py().startswith("well, number")
    sample = pq.read_table(outputs["sample"].path)
    assert sample.column_names == ["transcription"]
    assert sample.num_rows == sum(cut.shard_rows)


def test_metadata_in_split_folders(tasks: Any, tmp_path: Path) -> None:
    def part(name: str, first: int, count: int) -> Files:
        lines = [f"{index}.png,{'xy'[index % 2]}" for index in range(first, first + count)]
        yield f"set/{name}/metadata.csv", "\n".join(["file_name,label", *lines]).encode()
        yield from ((f"set/{name}/{index}.png", png(index)) for index in range(first, first + count))

    schema = tasks.inspect(make(tmp_path / "a.zip", [*part("train", 0, 10), *part("validation", 10, 4)]))
    assert (schema.rows, schema.split_column, schema.split_holdout_rows, schema.label) == (14, "split", 4, "label")


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("../../etc/cron.d/x.png", png(1)), "leads out of its folder: '../../etc/cron.d/x.png'"),
        (("a/../../x.png", png(1)), "leads out of its folder"),
        (("/etc/passwd", b"x"), "absolute or foreign path"),
        (("C:/x.png", png(1)), "absolute or foreign path"),
        (("a\\..\\x.png", png(1)), "absolute or foreign path"),
        (("a/\x07.png", png(1)), "control characters"),
        ((link("a/link.png"), b"/etc/passwd"), "no file but a link"),
        (("a/9.gif", b"GIF89a"), "'a/9.gif' is neither PNG, JPEG, WAV nor FLAC"),
        (("a/9.wav", sound(1)), "mixes images and sound"),
        (("top.png", png(1)), "'top.png' lies in no folder"),
        (("a/bomb.png", bytes(30 << 20)), "'a/bomb.png' in the zip unpacks to more than 200 times its size"),
        (("a/large.png", bytes(65 << 20)), "65 MiB large, more than 64"),
        (("metadata.csv", b"file_name,label\na/0.png,x\nnot/there.png,y\n"), "line 3 of metadata.csv names 'not/there"),
        (("metadata.csv", b"file_name,label\na/0.png\n"), "line 2 of metadata.csv has 1 values"),
        (("metadata.csv", b"path,label\na/0.png,x\n"), "metadata.csv has no column 'file_name'"),
        (("metadata.csv", b"file_name,label\na/0.png,\xe9\n"), "line 2 of metadata.csv is not UTF-8"),
        (("metadata.csv", b"file_name,image\na/0.png,1\n"), "column 'image' appears twice"),
        (("metadata.csv", b'file_name,label\na/0.png,"x\n'), "of metadata.csv cannot be read"),
        (("a/broken.png", b"\x89PNG\r\n\x1a\nbroken"), "the image in row 25 of column 'image' cannot be decoded"),
        (("a/empty.png", b""), "row 25 has no image"),
    ],
)  # fmt: skip
def test_a_zip_that_is_refused(tasks: Any, tmp_path: Path, extra: Any, message: str) -> None:
    path = make(tmp_path / "a.zip", [*images(), extra])
    before = sorted(tmp_path.parent.iterdir())
    with pytest.raises(TaskError) as caught:
        tasks.inspect(path)
    assert message in caught.value.message
    assert caught.value.reason == "TASK"
    assert sorted(tmp_path.parent.iterdir()) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name(tasks: Any, tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", [*images(), ("a/0.png", png(5))])
    with pytest.raises(TaskError, match=r"two entries called 'a/0.png'"):
        tasks.inspect(path)


def test_many_entries_that_unpack_to_a_lot(tasks: Any, tmp_path: Path) -> None:
    zeros = bytes(1 << 20)
    path = make(tmp_path / "a.zip", [*images(), *((f"a/x{index}.png", zeros) for index in range(200))])
    with pytest.raises(TaskError, match="like a zip bomb"):
        tasks.inspect(path)


def patched(path: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("said", [24, 1, 0])
def test_more_entries_than_anybody_needs(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    def claim(data: bytearray) -> None:
        at = data.rindex(b"PK\5\6")
        data[at + 8 : at + 12] = struct.pack("<HH", said, said)

    path = patched(make(tmp_path / "a.zip", images()), claim)
    assert tasks.inspect(path).rows == 24
    monkeypatch.setattr("trainnet.worker.trainer.data.sources.zip_entries.MAX_ENTRIES", 20)
    with pytest.raises(TaskError, match="the zip has more than 20 entries"):
        tasks.inspect(path)


def test_a_directory_far_longer_than_its_entries(tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.zip", [*images(), *((f"{'x' * 3000}{index}/0.png", png(1)) for index in range(3))])
    monkeypatch.setattr("trainnet.worker.trainer.data.sources.zip_entries.MAX_ENTRIES", 30)
    with pytest.raises(TaskError, match="or too long names"):
        tasks.inspect(path)


def test_encrypted_entries(tasks: Any, tmp_path: Path) -> None:
    def encrypt(data: bytearray) -> None:
        at = data.rindex(b"PK\1\2")
        data[at + 8] |= 1

    with pytest.raises(TaskError, match=r"'c/7.png' in the zip is encrypted"):
        tasks.inspect(patched(make(tmp_path / "a.zip", images()), encrypt))


def test_entries_that_share_their_bytes(tasks: Any, tmp_path: Path) -> None:
    # As the bomb of bamsoftware.com/hacks/zipbomb does: many entries of the directory, one kernel of data.
    def overlap(data: bytearray) -> None:
        first = data.index(b"PK\1\2")
        second = data.index(b"PK\1\2", first + 4)
        data[second + 42 : second + 46] = struct.pack("<L", 0)

    with pytest.raises(TaskError, match="overlaps another entry"):
        tasks.inspect(patched(make(tmp_path / "a.zip", images()), overlap))


def test_a_directory_that_lies_about_a_size(tasks: Any, tmp_path: Path) -> None:
    def lie(data: bytearray) -> None:
        at = data.rindex(b"PK\1\2")
        data[at + 24 : at + 28] = struct.pack("<L", 10)

    with pytest.raises(TaskError, match=r"'c/7.png' in the zip is damaged"):
        tasks.inspect(patched(make(tmp_path / "a.zip", images()), lie))


def test_damaged_bytes(tasks: Any, tmp_path: Path) -> None:
    def flip(data: bytearray) -> None:
        data[60] ^= 0xFF

    with pytest.raises(TaskError, match=r"'a/0.png' in the zip is damaged"):
        tasks.inspect(patched(make(tmp_path / "a.zip", images(), zipfile.ZIP_STORED), flip))


def test_files_that_are_no_zip(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"\x1f\x8b" + zlib.compress(b"x" * 100))
    with pytest.raises(TaskError, match="not a zip but a gzip file"):
        tasks.inspect(path)
    whole = make(path, images()).read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(TaskError, match="the zip cannot be read: File is not a zip file; upload it again"):
        tasks.inspect(path)
    make(path, JUNK)
    with pytest.raises(TaskError, match="no images and no sound"):
        tasks.inspect(path)


def test_sounds_that_cannot_be_played(tasks: Any, tmp_path: Path) -> None:
    good: list[tuple[str | zipfile.ZipInfo, bytes]] = [(f"{name}/1.wav", sound(1)) for name in "ab"]
    schema = tasks.inspect(make(tmp_path / "a.zip", [*good, ("b/2.wav", sound(2, rate=8000))]))
    assert [label.name for label in schema.classes] == ["a", "b"]
    assert any("different sample rates (8000, 16000 Hz)" in line for line in schema.warnings)
    for damage in (sound(2)[:40], b"RIFF....WAVE", b"", png(1)):
        with pytest.raises(TaskError, match="row 3"):
            tasks.inspect(make(tmp_path / "a.zip", [*good, ("b/2.wav", damage)]))
