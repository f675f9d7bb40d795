"""Data to measure with, for each kind that an architecture takes: random, the same for the same number of rows."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.catalog.types import Data
from trainnet.v1.dataset_pb2 import DATASET_FORMAT_PARQUET, DATASET_FORMAT_TEXT, DatasetFormat

_CLASSES = 10
_NUMBERS = 30
_SIDE = 28
_WORDS = 2000
_SECONDS = 2
_RATE = 16_000


def data(architecture: str, rows: int, folder: Path) -> tuple[Path, DatasetFormat]:
    """Writes a data set that the architecture takes, and answers its file and format."""
    random = np.random.default_rng(1)
    labels = [f"class-{label}" for label in random.integers(0, _CLASSES, rows)]
    match ARCHITECTURES[architecture].data:
        case Data.TABULAR:
            values = random.normal(size=(_NUMBERS, rows))
            columns = {f"n{index}": column for index, column in enumerate(values)} | {"label": labels}
        case Data.IMAGE:
            pixels = random.integers(0, 256, (rows, _SIDE, _SIDE), dtype=np.uint8)
            columns = {"image": [_png(image) for image in pixels], "label": labels}
        case Data.TEXT if architecture == "gpt2":
            path = folder / "data.txt"
            path.write_text("\n".join(_texts(random, rows)), encoding="utf-8")
            return path, DATASET_FORMAT_TEXT
        case Data.TEXT:
            columns = {"text": _texts(random, rows), "label": labels}
        case _:
            sounds = random.normal(scale=0.1, size=(rows, _SECONDS * _RATE)).astype("<f4")
            columns = {"audio": [_wav(sound) for sound in sounds], "text": [f"said {label}" for label in labels]}
    path = folder / "data.parquet"
    pq.write_table(pa.table(columns), path)
    return path, DATASET_FORMAT_PARQUET


def _texts(random: np.random.Generator, rows: int) -> list[str]:
    """Sentences of 20 to 200 made-up words, the frequent ones first as in a language."""
    letters = np.array(list("etaoinshrdlu"))
    words = ["".join(random.choice(letters, size=length)) for length in random.integers(2, 9, _WORDS)]
    shares = 1.0 / np.arange(1, _WORDS + 1)
    chosen = [random.choice(_WORDS, size=length, p=shares / shares.sum()) for length in random.integers(20, 200, rows)]
    return [" ".join(words[index] for index in sentence) + "." for sentence in chosen]


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _wav(samples: np.ndarray) -> bytes:
    import soundfile  # only for speech

    file = io.BytesIO()
    soundfile.write(file, samples, _RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()
