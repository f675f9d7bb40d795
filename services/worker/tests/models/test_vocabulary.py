from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tokenizers import Tokenizer

from services.worker.tests.models.scene import TEXTS
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models.bundle import TOKENIZER
from trainnet.worker.trainer.models.tokenizer import base_tokenizer
from trainnet.worker.trainer.models.vocabulary import train_byte_pairs, train_word_pieces

SENTENCES = [text for about in TEXTS.values() for text in about]
DIGEST = """
import hashlib, sys
from trainnet.worker.trainer.models.vocabulary import train_byte_pairs, train_word_pieces
texts = sys.argv[1:]
pieces, pairs = train_word_pieces(iter(texts), 120, 16), train_byte_pairs(iter(texts), 300, 16, speech=True)
print(hashlib.sha256(b"".join([*pieces.values(), *pairs.values()])).hexdigest())
"""


def test_another_process_trains_the_same_bytes() -> None:
    # Hash tables are seeded anew in each process, so one process alone proves nothing.
    found = {
        subprocess.run([sys.executable, "-c", DIGEST, *SENTENCES], check=True, capture_output=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def test_word_pieces() -> None:
    tokenizer = Tokenizer.from_buffer(train_word_pieces(iter(SENTENCES * 5), 150, 16)[TOKENIZER])
    assert tokenizer.get_vocab_size() <= 150
    encoded = tokenizer.encode("The SHIP was 日本")
    assert encoded.tokens[0] == "[CLS]"
    assert encoded.tokens[-2:] == ["[UNK]", "[SEP]"]
    assert tokenizer.decode(encoded.ids) == "the ship was"
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))
    assert [token.content for token in tokenizer.get_added_tokens_decoder().values()] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ]


def test_byte_pairs_know_every_text() -> None:
    for speech in (False, True):
        tokenizer = Tokenizer.from_buffer(train_byte_pairs(iter(SENTENCES * 5), 300, 16, speech=speech)[TOKENIZER])
        assert tokenizer.get_vocab_size() <= 300
        text = "The SHIP, 日本 \n\t🙂"
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("").tokens == ["<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"]


def test_nothing_to_learn() -> None:
    with pytest.raises(TaskError, match="holds no text"):
        train_word_pieces(iter(["  ", ""]), 100, 16)


def without_unknown() -> bytes:
    content = json.loads(train_word_pieces(iter(SENTENCES), 150, 16)[TOKENIZER])
    del content["model"]["vocab"]["[UNK]"]
    content["added_tokens"] = []
    return json.dumps(content).encode()


def test_older_folders_have_vocabularies_of_their_own() -> None:
    words = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ship", "the", "##s"]).encode()
    bert = Tokenizer.from_buffer(base_tokenizer("bert", {"vocab.txt": words}, 16)[TOKENIZER])
    assert bert.encode("The ships").tokens == ["[CLS]", "the", "ship", "##s", "[SEP]"]
    files = {"vocab.json": b'{"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}', "merges.txt": b"#version: 0.2\na b\n"}
    gpt2 = Tokenizer.from_buffer(base_tokenizer("gpt2", files, 16)[TOKENIZER])
    assert gpt2.encode("abab").ids == [2, 2]
    for architecture, broken, message in (
        ("bert", {}, "needs a tokenizer.json"),
        ("bert", {"vocab.txt": b"the\n"}, r"has no token \[UNK\]"),
        ("bert", {"vocab.txt": b"\xff"}, "vocab.txt is not UTF-8"),
        ("gpt2", {"vocab.json": b"[]", "merges.txt": b""}, "make no tokenizer"),
        ("gpt2", {"tokenizer.json": b"{}"}, "the tokenizer cannot be read"),
        ("bert", {"tokenizer.json": without_unknown()}, "tokenizer does not work"),
    ):
        with pytest.raises(TaskError, match=message):
            base_tokenizer(architecture, broken, 16)
