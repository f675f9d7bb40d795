"""The tokenizer of a base, as it came or from older files, in the two files that every loader reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.inputs.tokens import END_OF_TEXT, load_tokenizer
from trainnet.worker.trainer.models.bundle import TOKENIZER, TOKENIZER_CONFIG, Parts, from_json, to_json

VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt")
# What finds out whether a tokenizer works at all: nothing, words, and what hardly any vocabulary has.
_TRIALS = ("", "The quick brown fox, 42 times.", "日本 \n\t🙂 \u0301\u200d")
_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")


def base_tokenizer(architecture: str, files: Parts, max_length: int) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json. Raises TaskError where the base has none that we can read."""
    settings = from_json(files, TOKENIZER_CONFIG)
    with _panics_as_errors():
        tokenizer = _find(architecture, files, settings)
        if getattr(tokenizer.model, "dropout", None):
            tokenizer.model.dropout = None  # other tokens for the same text each time
        for text in _TRIALS:
            tokenizer.encode(text)
        serialized = tokenizer.to_str(pretty=False).encode()
    tokens = {name: _content(settings[name]) for name in _TOKENS if name in settings}
    known = {name: token for name, token in tokens.items() if token and tokenizer.token_to_id(token) is not None}
    config = {
        # The class that takes tokenizer.json as it is; the base's own may be code that nobody here has read.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **(known or _usual_tokens(tokenizer)),
    }
    return {TOKENIZER: serialized, TOKENIZER_CONFIG: to_json(config)}


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """The library panics over some broken files, which is no Exception and would end the trainer."""
    try:
        yield
    except TaskError:
        raise
    except BaseException as error:
        # A panic has no type to import. What else is no Exception (a cancel, Ctrl-C) passes.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TaskError("TASK", f"the base's tokenizer does not work: {error}") from error


def _find(architecture: str, files: Parts, settings: Mapping[str, Any]) -> Any:
    if TOKENIZER in files:
        return load_tokenizer(files[TOKENIZER])
    if architecture in {"bert", "distilbert"} and "vocab.txt" in files:
        return _word_pieces(files["vocab.txt"], lowercase=settings.get("do_lower_case") is not False)
    if architecture == "gpt2" and {"vocab.json", "merges.txt"} <= files.keys():
        return _byte_pairs(files)
    raise TaskError("TASK", "the base brings no tokenizer: its folder needs a tokenizer.json")


def _content(token: Any) -> str:
    """A special token stands as a word, or as an object with its properties."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


def _usual_tokens(tokenizer: Any) -> dict[str, str]:
    usual = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
    }
    return {name: token for name, token in usual.items() if tokenizer.token_to_id(token) is not None}


def _word_pieces(vocabulary: bytes, *, lowercase: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = {token: index for index, token in enumerate(_text("vocab.txt", vocabulary).splitlines())}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in pieces]
    if missing:
        raise TaskError("TASK", f"the base's vocab.txt has no token {missing[0]}")
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.add_special_tokens([t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if t in pieces])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, pieces[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _byte_pairs(files: Parts) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    lines = _text("merges.txt", files["merges.txt"]).splitlines()
    pairs = [line.partition(" ") for line in lines if line and not line.startswith("#version")]
    try:
        vocabulary = {str(token): int(index) for token, index in json.loads(files["vocab.json"]).items()}
        tokenizer = Tokenizer(models.BPE(vocabulary, [(first, second) for first, _, second in pairs]))
    except Exception as error:  # the library raises nothing narrower
        raise TaskError("TASK", f"the base's vocab.json and merges.txt make no tokenizer: {error}") from error
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TaskError("TASK", f"the base's {name} is not UTF-8: {error}") from error
