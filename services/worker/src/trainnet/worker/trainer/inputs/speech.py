"""Speech and what was said, for transcription."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import COLUMN_KIND_AUDIO, DataSchema
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.encoding import TRUNCATED, Arrays, Batch, Field
from trainnet.worker.trainer.inputs.rows import blocks, column_of, identity_of
from trainnet.worker.trainer.inputs.sound import decode_sound, log_mel, mel_filters
from trainnet.worker.trainer.inputs.tokens import END_OF_TEXT, IGNORED, load_tokenizer, padded, token_id, within

_BLOCK_ROWS = 16


class SpeechEncoding:
    """A batch: `input_features` (rows, mels, frames) float32 and `labels` (rows, tokens) int64, IGNORED behind the end.

    Every sound is filled up with silence to `max_seconds`; a longer one is an error. Texts get the tokens that the
    tokenizer adds (how a transcription begins) and `end_token`, and are cut at `max_length`. `features` are the
    settings of a preprocessor_config.json: feature_size, sampling_rate, n_fft, hop_length.
    """

    def __init__(
        self,
        schema: DataSchema,
        tokenizer_json: bytes,
        features: Mapping[str, Any],
        max_seconds: int,
        max_length: int,
        *,
        end_token: str = END_OF_TEXT,
    ) -> None:
        self._schema, self._tokenizer_json, self._end_token = schema, tokenizer_json, end_token
        self._column = column_of(schema, COLUMN_KIND_AUDIO, "sound")
        if not schema.label_is_text:
            raise TaskError(
                "TASK", f"the label column {schema.label!r} holds classes, a transcription needs the text that was said"
            )
        self._mels = int(features.get("feature_size", 80))
        self._rate = int(features.get("sampling_rate", 16_000))
        self._n_fft, self._hop = int(features.get("n_fft", 400)), int(features.get("hop_length", 160))
        self._max_seconds, self._max_length = max_seconds, max_length
        self._filters = mel_filters(self._mels, self._n_fft, self._rate)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of an example."""
        return (
            Field("input_features", "<f4", (self._mels, self._max_seconds * self._rate // self._hop)),
            Field("tokens", "<i4", (self._max_length,)),
            Field("length", "<i4", ()),
        )

    @property
    def identity(self) -> str:
        """All that the examples depend on beside the file."""
        settings = (self._mels, self._rate, self._n_fft, self._hop, self._max_seconds, self._max_length)
        return identity_of("speech-1", self._schema, self._tokenizer_json, self._end_token, settings)

    def examples(self, path: Path) -> Iterator[Arrays]:
        """The rows in order. Raises TaskError naming the row."""
        tokenizer = load_tokenizer(self._tokenizer_json)
        end = token_id(tokenizer, self._end_token)
        for first_row, batch in blocks(path, _BLOCK_ROWS):
            texts = [text or "" for text in batch.column(self._schema.label).to_pylist()]
            tokens = [row.ids if row.ids[-1:] == [end] else [*row.ids, end] for row in tokenizer.encode_batch(texts)]
            cut = np.fromiter((len(row) > self._max_length for row in tokens), dtype=bool, count=len(tokens))
            ids, lengths = padded([row[: self._max_length] for row in tokens], self._max_length)
            features = self.features(batch, first_row)
            yield {"input_features": features, "tokens": ids, "length": lengths, TRUNCATED: cut}

    def features(self, batch: pa.RecordBatch, first_row: int = 1) -> NDArray[np.float32]:
        """Rows without their texts: (rows, mels, frames). Raises TaskError naming the row."""
        values = batch.column(self._column)
        samples = torch.zeros(self._max_seconds * self._rate)
        found = np.empty((len(values), *self.fields[0].shape), dtype=np.float32)
        for index, value in enumerate(values):
            sound = decode_sound(value.as_py(), self._rate, self._max_seconds, first_row + index)
            # Resampling may make a sample more of it than `max_seconds` have.
            sound = sound[: len(samples)]
            samples[: len(sound)], samples[len(sound) :] = sound, 0.0
            found[index] = log_mel(samples, self._filters, self._n_fft, self._hop).numpy()
        return found

    def batch(self, examples: Batch) -> Batch:
        """Labels from lengths."""
        batch = {"input_features": examples["input_features"]}
        if "tokens" in examples:
            tokens, lengths = examples["tokens"].long(), examples["length"]
            if tokens.device.type == "cpu":
                tokens = tokens[:, : int(lengths.max())]
            batch["labels"] = tokens.masked_fill(~within(lengths, tokens.shape[1]), IGNORED)
        return batch
