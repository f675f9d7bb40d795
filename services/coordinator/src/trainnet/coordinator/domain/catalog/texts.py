"""What the text architectures have in common."""

from trainnet.coordinator.domain.catalog.types import Hyperparameter, Type


def max_length(default: int, description: str) -> Hyperparameter:
    return Hyperparameter("max_length", Type.INTEGER, default, description, 2, 65536)


def vocab_size(default: int = 8192) -> Hyperparameter:
    return Hyperparameter(
        "vocab_size",
        Type.INTEGER,
        default,
        "Tokens of a tokenizer that is trained on the data, at most; a base brings its own tokenizer.",
        64,
        1_000_000,
    )
