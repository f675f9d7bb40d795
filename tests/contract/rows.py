"""Small data of every kind that architectures take, as files that people have."""

import csv
import io
import math
import struct
import wave
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.data import breast_cancer_csv, digits_parquet
from trainnet.coordinator.domain.catalog import Data
from trainnet.v1 import dataset_pb2

WORDS = ("one", "two", "three", "four", "five")


def files(folder: Path) -> dict[Data, tuple[Path, dataset_pb2.DatasetFormat, dataset_pb2.DatasetReading]]:
    """(file, format, reading) of each kind."""
    plain, parquet = dataset_pb2.DATASET_FORMAT_CSV, dataset_pb2.DATASET_FORMAT_PARQUET
    as_is = dataset_pb2.DatasetReading()
    return {
        Data.TABULAR: (breast_cancer_csv(folder / "table.csv"), plain, as_is),
        Data.IMAGE: (digits_parquet(folder / "images.parquet", 100), parquet, as_is),
        Data.TEXT: (_texts(folder / "texts.csv"), plain, dataset_pb2.DatasetReading(label_column="mood")),
        Data.AUDIO: (_speech(folder / "speech.parquet"), parquet, dataset_pb2.DatasetReading(label_column="text")),
    }


def _texts(path: Path) -> Path:
    """60 sentences with a mood."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "mood"])
        for index in range(60):
            mood = ("dull", "bright")[index % 2]
            word = WORDS[index % len(WORDS)]
            rows.writerow([f"It was a {mood} morning, number {index}, and {word} of us went out to look at it.", mood])
    return path


def _speech(path: Path) -> Path:
    """20 tones of a quarter of a second, each with a sentence that nobody says in it."""
    said = [f"{WORDS[index % 5]} and {WORDS[index % 3]} is number {index}" for index in range(20)]
    pq.write_table(pa.table({"audio": [_tone(200.0 + 20 * index) for index in range(20)], "text": said}), path)
    return path


def _tone(frequency: float, rate: int = 16000) -> bytes:
    samples = [round(8000 * math.sin(2 * math.pi * frequency * index / rate)) for index in range(rate // 4)]
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()
