"""Texts as tokens: one example a row for classification, blocks of equal length for language models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainnet.v1.dataset_pb2 import COLUMN_KIND_TEXT, DataSchema
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.encoding import TRUNCATED, Arrays, Batch, Field
from trainnet.worker.trainer.inputs.rows import blocks, class_labels, column_of, identity_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BLOCK_ROWS = 1_024
_BLOCKS_AT_ONCE = 256
END_OF_TEXT = "<|endoftext|>"
IGNORED = -100
"""Label of tokens that no loss counts, as torch and transformers have it."""


def load_tokenizer(tokenizer_json: bytes) -> Tokenizer:
    """Raises TaskError."""
    from tokenizers import Tokenizer  # a table's trainer never needs it

    try:
        tokenizer = Tokenizer.from_buffer(tokenizer_json)
    except Exception as error:  # the library raises nothing narrower
        raise TaskError("TASK", f"the tokenizer cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Raises TaskError where the vocabulary lacks it."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise TaskError("TASK", f"the tokenizer has no token {token}")
    return int(found)


def text_columns(schema: DataSchema) -> list[str]:
    """Names of the columns of text. Raises TaskError when there is none."""
    column_of(schema, COLUMN_KIND_TEXT, "text")
    return [column.name for column in schema.columns if column.kind == COLUMN_KIND_TEXT]


def texts_of(batch: pa.RecordBatch, columns: list[str]) -> list[str]:
    """One text a row: its columns of text, joined by line ends; a missing one is empty."""
    values = [batch.column(name).to_pylist() for name in columns]
    return ["\n".join(part or "" for part in parts) for parts in zip(*values, strict=True)]


def padded(sequences: list[list[int]], length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(rows, length) with zeros behind, and their lengths."""
    ids = np.zeros((len(sequences), length), dtype=np.int32)
    lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int32, count=len(sequences))
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths


def within(lengths: Tensor, length: int) -> Tensor:
    """(rows, length): which tokens are there."""
    return torch.arange(length, device=lengths.device) < lengths.unsqueeze(1)


class TextEncoding:
    """A batch: `input_ids` and `attention_mask` (rows, tokens) int64, `label` (rows,) int64.

    On the processor a batch is as long as its longest text; elsewhere it always is `max_length` long, because asking
    for the longest would wait for the device. What is longer is cut.
    """

    def __init__(self, schema: DataSchema, tokenizer_json: bytes, max_length: int) -> None:
        self._schema, self._tokenizer_json, self._max_length = schema, tokenizer_json, max_length
        self._columns = text_columns(schema)
        self._tokenizer: Tokenizer | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of an example."""
        return (
            Field("input_ids", "<i4", (self._max_length,)),
            Field("length", "<i4", ()),
            Field("label", "<i8", ()),
        )

    @property
    def identity(self) -> str:
        """All that the examples depend on beside the file."""
        return identity_of("text-1", self._schema, self._tokenizer_json, self._max_length)

    def examples(self, path: Path) -> Iterator[Arrays]:
        """The texts in order. Raises TaskError naming the row."""
        for first_row, batch in blocks(path, _BLOCK_ROWS):
            encoded = self.tokens(texts_of(batch, self._columns))
            yield encoded | {"label": class_labels(batch, self._schema, first_row)}

    def tokens(self, texts: list[str]) -> Arrays:
        """Texts without their labels: `input_ids`, `length`, and which were cut."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._tokenizer_json)
            self._tokenizer.enable_truncation(self._max_length)
        found = self._tokenizer.encode_batch(texts)
        # A text without any token would leave attention nothing to look at.
        ids, lengths = padded([encoding.ids or [0] for encoding in found], self._max_length)
        cut = np.fromiter((bool(encoding.overflowing) for encoding in found), dtype=bool, count=len(found))
        return {"input_ids": ids, "length": lengths, TRUNCATED: cut}

    def batch(self, examples: Batch) -> Batch:
        """Masks from lengths."""
        ids, lengths = examples["input_ids"], examples["length"]
        if ids.device.type == "cpu":
            ids = ids[:, : int(lengths.max())]
        batch = {"input_ids": ids.long(), "attention_mask": within(lengths, ids.shape[1]).long()}
        if "label" in examples:
            batch["label"] = examples["label"]
        return batch


class BlockEncoding:
    """A batch: `input_ids` and `labels` (blocks, block_length) int64; a label is the token itself, not the next one.

    Texts follow each other, each closed by `end_token`, and are cut into blocks; the last block is filled up with
    tokens whose label is IGNORED. No mask is needed: a causal model's tokens never look at what follows them.
    """

    def __init__(
        self, schema: DataSchema, tokenizer_json: bytes, block_length: int, *, end_token: str = END_OF_TEXT
    ) -> None:
        self._schema, self._tokenizer_json = schema, tokenizer_json
        self._block_length, self._end_token = block_length, end_token
        self._columns = text_columns(schema)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of an example."""
        return Field("input_ids", "<i4", (self._block_length,)), Field("length", "<i4", ())

    @property
    def identity(self) -> str:
        """All that the examples depend on beside the file."""
        return identity_of("block-1", self._schema, self._tokenizer_json, self._block_length, self._end_token)

    def examples(self, path: Path) -> Iterator[Arrays]:
        """The blocks in order. Raises TaskError."""
        tokenizer = load_tokenizer(self._tokenizer_json)
        end = token_id(tokenizer, self._end_token)
        length, waiting = self._block_length, np.empty(0, dtype=np.int32)
        for _, batch in blocks(path, _BLOCK_ROWS):
            found = tokenizer.encode_batch(texts_of(batch, self._columns), add_special_tokens=False)
            waiting = np.concatenate([waiting, *(np.array([*row.ids, end], dtype=np.int32) for row in found)])
            whole = len(waiting) // length
            for start in range(0, whole, _BLOCKS_AT_ONCE):
                stop = min(whole, start + _BLOCKS_AT_ONCE)
                ids = waiting[start * length : stop * length].reshape(-1, length)
                yield {"input_ids": ids, "length": np.full(stop - start, length, dtype=np.int32)}
            waiting = waiting[whole * length :]
        # One token alone predicts nothing.
        if len(waiting) > 1:
            ids, lengths = padded([waiting.tolist()], length)
            yield {"input_ids": ids, "length": lengths}

    def batch(self, examples: Batch) -> Batch:
        """Labels from lengths."""
        ids = examples["input_ids"].long()
        return {"input_ids": ids, "labels": ids.masked_fill(~within(examples["length"], ids.shape[1]), IGNORED)}
