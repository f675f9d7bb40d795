"""Transcription: what was said, token by token, and how many of its words a greedy decoding gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainnet.v1.task_pb2 import Confusion
from trainnet.worker.trainer.inputs.encoding import Batch
from trainnet.worker.trainer.models.objectives import summed

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Transcription:
    """The text that is spoken. Batches carry `input_features` and `labels`: how a transcription begins, the text, its
    end, negative behind it."""

    def __init__(self, tokenizer: Tokenizer, end: int, max_length: int) -> None:
        self._tokenizer, self._end, self._max_length = tokenizer, end, max_length
        # What the tokenizer puts around every text, less its end: what a decoding starts from.
        self._prompt = [token for token in tokenizer.encode("").ids if token != end]

    def loss(self, module: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
        """Cross entropy of the next token, its mean over the tokens that count."""
        logits, labels = self._forced(module, batch)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def tally(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`loss` and `tokens` with the text given; `wrong` and `words` of a greedy decoding."""
        logits, labels = self._forced(module, batch)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        # A decoding that runs on and on costs time and says nothing: twice the longest text is enough to be wrong.
        longest = min(self._max_length, 2 * batch["labels"].shape[1] + 8)
        given = [self._text([token for token in row if token >= 0]) for row in batch["labels"].tolist()]
        found = self.transcribe(module, batch["input_features"], longest)
        pairs = [(a.casefold().split(), b.casefold().split()) for a, b in zip(given, found, strict=True)]
        return {
            "loss": summed(losses),
            "tokens": (labels >= 0).sum(),
            "wrong": torch.tensor(sum(edits(a, b) for a, b in pairs)),
            "words": torch.tensor(sum(len(a) for a, _ in pairs)),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """`loss` per token; `word_error_rate`: words to change, add or drop for each word that was said, case aside."""
        return {
            "loss": float(sums["loss"]) / max(1, int(sums["tokens"])),
            "word_error_rate": int(sums["wrong"]) / max(1, int(sums["words"])),
        }

    def confusion(self, sums: Mapping[str, Tensor]) -> Confusion | None:  # the interface's
        """None: there are no classes."""
        return None

    @torch.no_grad()
    def transcribe(self, module: Any, features: Tensor, max_length: int = 0) -> list[str]:
        """The likeliest token after the other, up to the end or `max_length`."""
        limit = max_length or self._max_length
        encoded = module.get_encoder()(features)
        rows = len(features)
        fed = torch.tensor([self._prompt] * rows, device=features.device)
        done = torch.zeros(rows, dtype=torch.bool, device=features.device)
        found: list[Tensor] = []
        cache = None
        while len(self._prompt) + len(found) < limit and not bool(done.all()):
            answer = module(encoder_outputs=encoded, decoder_input_ids=fed, past_key_values=cache, use_cache=True)
            cache = answer.past_key_values
            token = answer.logits[:, -1].argmax(1).masked_fill(done, self._end)
            done |= token == self._end
            found.append(token)
            fed = token.unsqueeze(1)
        tokens = torch.stack(found, dim=1).tolist() if found else [[] for _ in range(rows)]
        return [self._text(row) for row in tokens]

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    @staticmethod
    def _forced(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Every token but the first is predicted from those before it."""
        labels = batch["labels"]
        answer = module(input_features=batch["input_features"], decoder_input_ids=labels[:, :-1].clamp(min=0))
        return answer.logits.float().flatten(0, 1), labels[:, 1:].flatten()


def edits(given: Sequence[str], found: Sequence[str]) -> int:
    """Fewest words to change, add or drop (Levenshtein)."""
    row = list(range(len(found) + 1))
    for index, word in enumerate(given, 1):
        above, row[0] = row[0], index
        for place, other in enumerate(found, 1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (word != other))
    return row[-1]
