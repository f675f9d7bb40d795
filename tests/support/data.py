"""Small real data sets, as the files that people have."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits

BREAST_CANCER_ROWS = 569
DIGITS_ROWS = 400


def _breast_cancer() -> dict[str, list[object]]:
    found = load_breast_cancer()
    columns: dict[str, list[object]] = {
        str(name).replace(" ", "_"): found.data[:, index].tolist() for index, name in enumerate(found.feature_names)
    }
    columns["diagnosis"] = [str(found.target_names[label]) for label in found.target]
    return columns


def breast_cancer_csv(path: Path) -> Path:
    """569 rows of 30 numbers and the label `diagnosis`."""
    columns = _breast_cancer()
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def breast_cancer_parquet(path: Path) -> Path:
    """The same as Parquet, in several row groups."""
    pq.write_table(pa.table(_breast_cancer()), path, row_group_size=100)
    return path


def digits_parquet(path: Path, rows: int = DIGITS_ROWS) -> Path:
    """Handwritten digits of 8 x 8 pixels: PNG in the column `image`, the digit in `label`."""
    found = load_digits()
    images = [png((image * 15).astype(np.uint8)) for image in found.images[:rows]]
    pq.write_table(pa.table({"image": images, "label": found.target[:rows]}), path, row_group_size=150)
    return path


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey PNG of a (height, width) array (W3C PNG specification, sections 5 and 11)."""
    height, width = pixels.shape
    scanlines = b"".join(b"\x00" + bytes(row) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
