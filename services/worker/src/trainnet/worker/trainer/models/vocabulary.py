"""Tokenizers trained on a data set's sample. The same rows give the same bytes, in every process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainnet.v1.dataset_pb2 import DataSchema
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.rows import blocks
from trainnet.worker.trainer.inputs.tokens import END_OF_TEXT, text_columns, texts_of
from trainnet.worker.trainer.models.bundle import TOKENIZER, TOKENIZER_CONFIG, to_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START_OF_TRANSCRIPT = "<|startoftranscript|>"
NO_TIMESTAMPS = "<|notimestamps|>"
_BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_BLOCK_ROWS = 1_024


def sample_texts(path: Path, schema: DataSchema) -> Iterator[str]:
    """What a tokenizer learns from: the columns of text, or the label where that is the text to be learnt."""
    columns = [schema.label] if schema.label_is_text else text_columns(schema)
    for _, batch in blocks(path, _BLOCK_ROWS):
        yield from texts_of(batch, columns)


def train_word_pieces(texts: Iterator[str], vocab_size: int, max_length: int) -> dict[str, bytes]:
    """WordPiece without case, as BERT has it (Devlin et al. 2018, arXiv:1810.04805): the files of a model's folder."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    words = [normalizer.normalize_str(text) for text in texts]
    characters = sorted({character for text in words for character in text if not character.isspace()})
    if not characters:
        raise _nothing_to_learn()
    # The trainer numbers what continues a word in the order of a hash table, and ties follow the numbers: the same
    # sample would give other vocabularies in other processes. Told first, they are numbered in our order.
    specials = list(_BERT_TOKENS.values())
    # So that common characters and whole words have room: rare scripts would fill a small vocabulary on their own.
    room = max(0, (vocab_size - len(specials)) // 4)
    known = _most_common(words, characters, room)
    first = [*specials, *known, *(f"##{character}" for character in known)]
    trained = _tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  # no password
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=first, limit_alphabet=len(known), show_progress=False
    )
    trained.train_from_iterator(_only(words, set(known)), trainer)

    vocabulary = trained.get_vocab()
    tokenizer = _tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.add_special_tokens(specials)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return _files(tokenizer, max_length, _BERT_TOKENS)


def train_byte_pairs(texts: Iterator[str], vocab_size: int, max_length: int, *, speech: bool) -> dict[str, bytes]:
    """Byte-level BPE, as GPT-2 has it (Radford et al. 2019): every text has tokens, none is unknown."""
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    specials = [END_OF_TEXT, *([START_OF_TRANSCRIPT, NO_TIMESTAMPS] if speech else [])]
    tokenizer = _tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocab_size, 256 + len(specials)),
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if speech:
        # How a transcription begins, as Whisper's own tokenizers say it.
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START_OF_TRANSCRIPT} {NO_TIMESTAMPS} $A {END_OF_TEXT}",
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in specials],
        )
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END_OF_TEXT)
    return _files(tokenizer, max_length, names)


def _files(tokenizer: Tokenizer, max_length: int, tokens: dict[str, str]) -> dict[str, bytes]:
    settings = {
        # The class that takes tokenizer.json as it is, whatever is in it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **tokens,
    }
    return {TOKENIZER: tokenizer.to_str(pretty=False).encode(), TOKENIZER_CONFIG: to_json(settings)}


def _tokenizer(model: Any) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer(model)


def _most_common(texts: list[str], characters: list[str], room: int) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return sorted(sorted(characters, key=lambda character: (-counts[character], character))[: max(1, room)])


def _only(texts: list[str], known: set[str]) -> Iterator[str]:
    """Words with characters that have no place in the vocabulary are unknown anyway: they teach nothing."""
    for text in texts:
        yield " ".join(word for word in text.split() if known.issuperset(word))


def _nothing_to_learn() -> TaskError:
    return TaskError("TASK", "the sample holds no text to train a tokenizer on: look at the data set's columns")
