"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): 70,000 pictures of clothes, as Debian packages them."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trainnet.local.errors import LocalError

FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
_IMAGES, _LABELS = 0x00000803, 0x00000801


class FashionMissing(LocalError):
    """A file of the data set is not there, or is something else."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} {why}: install it with `apt-get install {PACKAGE}`, or name a folder with its four "
            "idx files by --data-dir"
        )


def read(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(images, labels) of `train` or `t10k`: (rows, 28, 28) and (rows,). Raises FashionMissing."""
    images = _idx(folder, f"{part}-images-idx3-ubyte", _IMAGES)
    labels = _idx(folder, f"{part}-labels-idx1-ubyte", _LABELS)
    return images, labels


def _idx(folder: Path, name: str, magic: int) -> NDArray[np.uint8]:
    path = next((path for path in (folder / f"{name}.gz", folder / name) if path.exists()), folder / f"{name}.gz")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (found,) = struct.unpack_from(">I", data)
        if found != magic:
            raise FashionMissing(path, "is no idx file of this kind")
        dimensions = magic & 0xFF
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except FileNotFoundError:
        raise FashionMissing(path, "is not there") from None
    except (OSError, struct.error, ValueError) as error:
        raise FashionMissing(path, f"cannot be read ({error})") from error


def write_parquet(folder: Path, path: Path) -> None:
    """PNG bytes in `image`, the class in `label`, and the official cut in `split`. Raises FashionMissing."""
    images, labels, splits = [], [], []
    for part, split in (("train", "train"), ("t10k", "test")):
        found, classes = read(folder, part)
        images += [_png(image) for image in found]
        labels += [str(label) for label in classes]
        splits += [split] * len(found)
    table = pa.table({"image": pa.array(images, pa.binary()), "label": labels, "split": splits})
    pq.write_table(table, path)


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()
