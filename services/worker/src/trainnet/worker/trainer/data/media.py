"""What one pass over a column of images or sounds finds out: each of them can be read, and their shape."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import Counter
from typing import Protocol

import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from trainnet.v1.dataset_pb2 import COLUMN_KIND_AUDIO, COLUMN_KIND_IMAGE, Column, ColumnProfile, ImageShape
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import as_bytes

MAX_IMAGE_SIDE = 128
MAX_SECONDS = 3600.0
_SHAPE_SAMPLE = 256
_DECODE_PIXELS = 500_000_000
_DECODE_SECONDS = 36_000.0
_IMAGE_ERRORS = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class MediaScan(Protocol):
    """A scan of a column of files."""

    name: str

    def add(self, values: pa.Array) -> None:
        """Takes the next ones. Raises TaskError naming the row of one that cannot be read."""

    def result(self) -> tuple[Column, list[str]]:
        """The column and remarks for its owner."""

    def profile(self) -> ColumnProfile:
        """What its owner looks at."""

    def describe(self, data: bytes) -> str:
        """A value in a few characters."""


def sniff(data: bytes) -> str:
    """`image`, `audio` or nothing, by the first bytes."""
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return "image"
    return "audio" if data.startswith(b"fLaC") or (data.startswith(b"RIFF") and data[8:12] == b"WAVE") else ""


class _Rows(ABC):
    """Counts rows and their bytes, and refuses empty ones."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self._what = what
        self._row = 0

    def add(self, values: pa.Array) -> None:
        """Takes the next values."""
        for value in as_bytes(values):
            self._row += 1
            data = value.as_py()
            if not data:
                raise TaskError(
                    "TASK", f"row {self._row} has no {self._what} in column {self.name!r}; fill or remove it"
                )
            self._look(data)

    @abstractmethod
    def _look(self, data: bytes) -> None:
        """Takes a value. Raises TaskError where it cannot be read."""

    def _undecodable(self, reason: str) -> TaskError:
        return TaskError(
            "TASK",
            f"the {self._what} in row {self._row} of column {self.name!r} cannot be decoded ({reason}); "
            "mend or remove it",
        )


class ImageScan(_Rows):
    """Finds the shape that most of the first images have."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "image")
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._grey, self._mixed = True, False
        self._pixels = 0
        self._bytes = self._most_bytes = 0

    def _look(self, data: bytes) -> None:
        self._bytes, self._most_bytes = self._bytes + len(data), max(self._most_bytes, len(data))
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                size = image.size
                if self._row <= _SHAPE_SAMPLE:
                    self._sizes[size] += 1
                    self._grey = self._grey and image.mode in {"1", "L", "I;16", "I"}
                elif size not in self._sizes:
                    self._mixed = True
                # A header alone says little: decode too, until that would take minutes.
                if self._pixels < _DECODE_PIXELS:
                    self._pixels += size[0] * size[1]
                    image.load()
        except _IMAGE_ERRORS as error:
            reason = "no PNG or JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
            raise self._undecodable(reason) from error

    def shape(self) -> tuple[ImageShape, list[str]]:
        """The shape and remarks. Images larger than MAX_IMAGE_SIDE are to be scaled down."""
        # Of equally common sizes the larger, so that the answer does not depend on their order.
        (width, height), _ = max(self._sizes.items(), key=lambda item: (item[1], item[0]))
        remarks = []
        if len(self._sizes) > 1 or self._mixed:
            remarks.append(f"images differ in size: all are resized to {width} x {height} pixels")
        if max(width, height) > MAX_IMAGE_SIDE:
            scale = MAX_IMAGE_SIDE / max(width, height)
            smaller = max(4, round(width * scale)), max(4, round(height * scale))
            remarks.append(
                f"images of {width} x {height} pixels are scaled down to {smaller[0]} x {smaller[1]} for training"
            )
            width, height = smaller
        return ImageShape(height=height, width=width, channels=1 if self._grey else 3), remarks

    def result(self) -> tuple[Column, list[str]]:
        """See MediaScan."""
        return Column(name=self.name, kind=COLUMN_KIND_IMAGE), self.shape()[1]

    def profile(self) -> ColumnProfile:
        """See MediaScan."""
        return ColumnProfile(
            name=self.name, mean_length=self._bytes / max(self._row, 1), max_length=float(self._most_bytes)
        )

    def describe(self, data: bytes) -> str:
        """See MediaScan."""
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            return f"<{image.format} {image.width}x{image.height}>"


class AudioScan(_Rows):
    """Finds lengths and rates of sounds."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "sound")
        self._rates: set[int] = set()
        self._seconds = self._most_seconds = self._decoded = 0.0

    def _look(self, data: bytes) -> None:
        import soundfile  # most data sets have no sound

        try:
            with soundfile.SoundFile(io.BytesIO(data)) as sound:
                if sound.format not in {"WAV", "WAVEX", "FLAC"}:
                    raise self._undecodable(f"{sound.format} is neither WAV nor FLAC")
                seconds = sound.frames / sound.samplerate
                if not 0 < seconds <= MAX_SECONDS:
                    raise self._undecodable("it has no samples" if seconds <= 0 else "it is longer than an hour")
                if self._decoded < _DECODE_SECONDS:
                    self._decoded += seconds
                    read = sum(len(block) for block in sound.blocks(1 << 16, dtype="float32"))
                    if read != sound.frames:
                        raise self._undecodable("it ends early")
                if len(self._rates) < 10:
                    self._rates.add(sound.samplerate)
        except soundfile.SoundFileError as error:
            raise self._undecodable(f"no WAV or FLAC: {error}") from error
        self._seconds += seconds
        self._most_seconds = max(self._most_seconds, seconds)

    def result(self) -> tuple[Column, list[str]]:
        """See MediaScan."""
        remarks = []
        if len(self._rates) > 1:
            rates = ", ".join(map(str, sorted(self._rates)))
            remarks.append(f"sounds have different sample rates ({rates} Hz): all are resampled for training")
        return Column(name=self.name, kind=COLUMN_KIND_AUDIO), remarks

    def profile(self) -> ColumnProfile:
        """See MediaScan."""
        return ColumnProfile(
            name=self.name, mean_length=self._seconds / max(self._row, 1), max_length=self._most_seconds
        )

    def describe(self, data: bytes) -> str:
        """See MediaScan."""
        import soundfile

        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            return f"<{sound.format.removesuffix('EX')} {sound.frames / sound.samplerate:.1f} s>"
