"""What rows become, encoding by encoding."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_AUDIO,
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    Column,
    DataSchema,
    LabelClass,
)
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.encoding import TRUNCATED, Encoding
from trainnet.worker.trainer.inputs.images import ImageEncoding
from trainnet.worker.trainer.inputs.sound import resample
from trainnet.worker.trainer.inputs.speech import SpeechEncoding
from trainnet.worker.trainer.inputs.tables import TableEncoding
from trainnet.worker.trainer.inputs.tokens import BlockEncoding, TextEncoding, texts_of

CLASSES = [LabelClass(name="no"), LabelClass(name="yes")]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def whole(encoding: Encoding, path: Path) -> dict[str, Any]:
    """All blocks of a file, checked against the declared fields."""
    blocks = list(encoding.examples(path))
    for block in blocks:
        for field in encoding.fields:
            assert block[field.name].dtype == np.dtype(field.dtype)
            assert block[field.name].shape[1:] == field.shape
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def tensors(encoding: Encoding, found: dict[str, Any]) -> dict[str, torch.Tensor]:
    return encoding.batch({field.name: torch.from_numpy(found[field.name]) for field in encoding.fields})


def word_tokenizer(words: list[str], *, marks: bool = False) -> bytes:
    """A word is a token; with `marks`, texts stand between `[CLS]` and `[SEP]`."""
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "<|endoftext|>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return tokenizer.to_str().encode()


def test_a_table(tmp_path: Path) -> None:
    schema = DataSchema(
        columns=[
            Column(name="n", kind=COLUMN_KIND_NUMERIC, mean=10, deviation=2),
            Column(name="c", kind=COLUMN_KIND_CATEGORICAL, categories=["a", "b"]),
        ],
        label="l",
        classes=CLASSES,
    )
    columns = {"n": [12.0, None, 8.0], "c": ["b", None, "z"], "l": ["yes", "no", "yes"]}
    encoding = TableEncoding(schema)
    found = tensors(encoding, whole(encoding, parquet(tmp_path / "shard", **columns)))
    assert found["features"].tolist() == [[1, 0, 1], [0, 0, 0], [-1, 0, 0]]
    assert found["label"].tolist() == [1, 0, 1]
    unknown = parquet(tmp_path / "unknown", **(columns | {"l": ["yes", "perhaps", "no"]}))
    with pytest.raises(TaskError, match="row 2 of the shard has a label"):
        whole(encoding, unknown)
    identity = encoding.identity
    schema.columns[0].mean = 9
    assert TableEncoding(schema).identity != identity


def test_images_are_brought_to_one_size_and_to_one(tmp_path: Path) -> None:
    def png(size: int, mode: str) -> bytes:
        file = io.BytesIO()
        Image.new(mode, (size, size), "white").save(file, "PNG")
        return file.getvalue()

    schema = DataSchema(columns=[Column(name="i", kind=COLUMN_KIND_IMAGE)], label="l", classes=CLASSES)
    path = parquet(tmp_path / "shard", i=[png(4, "L"), png(9, "RGB")], l=["no", "yes"])
    encoding = ImageEncoding(schema, 6, 6, 3)
    assert tensors(encoding, whole(encoding, path))["pixel_values"].equal(torch.ones(2, 3, 6, 6))
    shifted = ImageEncoding(schema, 6, 6, 3, mean=[0.5] * 3, deviation=[0.25] * 3)
    assert tensors(shifted, whole(shifted, path))["pixel_values"].equal(torch.full((2, 3, 6, 6), 2.0))
    with pytest.raises(TaskError, match=r"the image in row 2 cannot be decoded .*: mend or remove it"):
        whole(encoding, parquet(tmp_path / "broken", i=[png(4, "L"), b"\x89PNG"], l=["no", "yes"]))


def test_texts_are_masked_and_cut(tmp_path: Path) -> None:
    schema = DataSchema(columns=[Column(name="t", kind=COLUMN_KIND_TEXT)], label="l", classes=CLASSES)
    encoding = TextEncoding(schema, word_tokenizer(["a", "b"], marks=True), 5)
    path = parquet(tmp_path / "shard", t=["a b", "a b a b a", None], l=["no", "yes", "no"])
    found = whole(encoding, path)
    assert found[TRUNCATED].tolist() == [False, True, False]
    batch = tensors(encoding, found)
    assert batch["input_ids"].tolist() == [[1, 4, 5, 2, 0], [1, 4, 5, 4, 2], [1, 2, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5, [1, 1, 0, 0, 0]]
    assert batch["label"].tolist() == [0, 1, 0]
    short = tensors(encoding, {name: array[[0, 2]] for name, array in found.items()})
    assert short["input_ids"].tolist() == [[1, 4, 5, 2], [1, 2, 0, 0]]


def test_several_columns_of_text_are_one_text() -> None:
    schema = DataSchema(columns=[Column(name=name, kind=COLUMN_KIND_TEXT) for name in "st"], label="l")
    encoding = TextEncoding(schema, word_tokenizer(["a", "b"]), 4)
    batch = pa.RecordBatch.from_pydict({"s": ["a", None], "t": ["b", None]})
    found = encoding.tokens(texts_of(batch, ["s", "t"]))
    # A text without tokens keeps one, so that attention has something to look at.
    assert (found["input_ids"].tolist(), found["length"].tolist()) == ([[4, 5, 0, 0], [0, 0, 0, 0]], [2, 1])


def test_blocks_of_joined_texts(tmp_path: Path) -> None:
    schema = DataSchema(columns=[Column(name="text", kind=COLUMN_KIND_TEXT)])
    encoding = BlockEncoding(schema, word_tokenizer(["a", "b"]), 4)
    # One token that is left over predicts nothing.
    batch = tensors(encoding, whole(encoding, parquet(tmp_path / "shard", text=["a b", "a b a", "b"])))
    assert batch["input_ids"].tolist() == [[4, 5, 3, 4], [5, 4, 3, 5]]
    batch = tensors(encoding, whole(encoding, parquet(tmp_path / "more", text=["a b", "a b a", "b a"])))
    assert batch["labels"].tolist() == [[4, 5, 3, 4], [5, 4, 3, 5], [4, 3, -100, -100]]
    lacking = BlockEncoding(schema, word_tokenizer([]), 4, end_token="</s>")
    with pytest.raises(TaskError, match="the tokenizer has no token </s>"):
        whole(lacking, tmp_path / "more")


SPEECH = DataSchema(columns=[Column(name="sound", kind=COLUMN_KIND_AUDIO)], label="said", label_is_text=True)


def tone(hertz: float, seconds: float, rate: int) -> Any:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype("<f4")


def wav(samples: Any, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_speech_has_the_features_that_whisper_knows(tmp_path: Path) -> None:
    from transformers import WhisperFeatureExtractor

    sound = tone(440, 1.5, 16_000) + tone(3000, 1.5, 16_000)
    path = parquet(tmp_path / "shard", sound=[wav(sound, 16_000)], said=["a b"])
    encoding = SpeechEncoding(SPEECH, word_tokenizer(["a", "b"]), {}, max_seconds=2, max_length=8)
    found = whole(encoding, path)
    extract = WhisperFeatureExtractor(chunk_length=2)  # type: ignore[no-untyped-call]  # not ours to type
    expected = extract(sound, sampling_rate=16_000, return_tensors="np")
    assert np.abs(found["input_features"][0] - expected["input_features"][0]).max() < 1e-4
    assert tensors(encoding, found)["labels"].tolist() == [[4, 5, 3]]


def test_speech_that_does_not_fit(tmp_path: Path) -> None:
    path = parquet(tmp_path / "shard", sound=[wav(tone(440, 0.5, 8000), 8000), None], said=["a a a", "b"])
    encoding = SpeechEncoding(SPEECH, word_tokenizer(["a", "b"]), {"feature_size": 40}, max_seconds=1, max_length=3)
    with pytest.raises(TaskError, match=r"the sound in row 2 cannot be decoded .*: mend or remove it"):
        whole(encoding, path)
    long = parquet(tmp_path / "long", sound=[wav(tone(440, 1.2, 8000), 8000)], said=["a"])
    with pytest.raises(TaskError, match=r"the sound in row 1 has 1\.2 s, the model takes 1 s: raise max_seconds"):
        whole(encoding, long)
    one = whole(encoding, parquet(tmp_path / "one", sound=[wav(tone(440, 0.5, 8000), 8000)], said=["a a a"]))
    assert (one["tokens"].tolist(), one[TRUNCATED].tolist()) == ([[4, 4, 4]], [True])


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_keeps_a_tone(rate: int) -> None:
    found = resample(torch.from_numpy(tone(440, 1.0, rate)), rate, 16_000)
    assert len(found) == 16_000
    # The filter needs some samples to each side.
    assert np.abs(found.numpy() - tone(440, 1.0, 16_000))[100:-100].max() < 0.005
