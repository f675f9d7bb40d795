"""Fields of transformers configurations as hyperparameters.

The tables in the families' files are written by hand, so that the coordinator needs no transformers; a contract test
compares them with the real configuration classes. Null, the default of each, means what the size or the base has.
"""

from trainnet.coordinator.domain.catalog.types import Hyperparameter, Type

SET_BY_US = {
    "vocab_size": "the tokenizer decides it: the hyperparameter vocab_size is that of a tokenizer trained here",
    "pad_token_id": "the tokenizer decides it",
    "bos_token_id": "the tokenizer decides it",
    "eos_token_id": "the tokenizer decides it",
    "decoder_start_token_id": "the tokenizer decides it",
    "image_size": "the hyperparameter image_size and the data decide it",
    "num_channels": "the data decide it",
    "is_encoder_decoder": "the architecture is what it is",
    "is_decoder": "the learning task decides it",
    "add_cross_attention": "the learning task decides it",
    "use_cache": "training needs none, and loading for generation sets it",
}
"""Scalar fields that are no hyperparameters, with the reason."""


def integer(name: str, description: str, minimum: float = 1, maximum: float = 65536) -> Hyperparameter:
    return Hyperparameter(f"config.{name}", Type.INTEGER, None, description, minimum, maximum)


def number(name: str, description: str, minimum: float = 0, maximum: float = 1) -> Hyperparameter:
    return Hyperparameter(f"config.{name}", Type.FLOAT, None, description, minimum, maximum)


def flag(name: str, description: str) -> Hyperparameter:
    return Hyperparameter(f"config.{name}", Type.BOOLEAN, None, description)


def word(name: str, description: str) -> Hyperparameter:
    return Hyperparameter(f"config.{name}", Type.STRING, None, description)


LAYERS, HEADS = 1024, 1024
"""Most layers, and most heads of one, that anybody can mean."""
