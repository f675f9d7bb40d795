"""The architectures that transformers knows: which classes make them, and what distinguishes them.

The classes are imported when they are asked for: a trainer of tables never pays for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainnet.worker.trainer.models.sizes import SIZES, Fields


@dataclass(frozen=True)
class Family:
    """One architecture. `head` begins the names of tensors that belong to the classes of one data set, `optional`
    those of parts that a base may lack or that follow from the configuration; `positions` is the field that bounds a
    text's tokens; `lora_targets` are the layers that an adapter is usually put on."""

    architecture: str
    package: str
    configuration: str
    model: str
    auto_class: str
    head: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    positions: str = ""
    lora_targets: tuple[str, ...] = ()

    @property
    def sizes(self) -> Mapping[str, Fields]:
        """Configurations by name."""
        return SIZES[self.architecture]

    def configuration_class(self) -> Any:
        """The transformers class of its configuration."""
        return self._attribute(self.configuration)

    def model_class(self) -> Any:
        """The transformers class of its model."""
        return self._attribute(self.model)

    def is_head(self, name: str) -> bool:
        """Whether a tensor belongs to the classes of one data set."""
        return name.startswith(self.head) if self.head else False

    def may_lack(self, name: str) -> bool:
        """Whether a base does without this tensor, and the seed's takes its place."""
        return self.is_head(name) or (bool(self.optional) and name.startswith(self.optional))

    def _attribute(self, name: str) -> Any:
        # Its warnings speak to who calls it: about keys that we check, and packages that we do without.
        logging = importlib.import_module("transformers").logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return getattr(importlib.import_module(f"transformers.models.{self.package}"), name)


FAMILIES: Mapping[str, Family] = {
    family.architecture: family
    for family in (
        Family(
            "mobilenet_v2",
            "mobilenet_v2",
            "MobileNetV2Config",
            "MobileNetV2ForImageClassification",
            "AutoModelForImageClassification",
            head=("classifier.",),
        ),
        Family(
            "vit",
            "vit",
            "ViTConfig",
            "ViTForImageClassification",
            "AutoModelForImageClassification",
            head=("classifier.",),
            lora_targets=("q_proj", "v_proj"),
        ),
        Family(
            "distilbert",
            "distilbert",
            "DistilBertConfig",
            "DistilBertForSequenceClassification",
            "AutoModelForSequenceClassification",
            head=("pre_classifier.", "classifier."),
            positions="max_position_embeddings",
            lora_targets=("q_lin", "v_lin"),
        ),
        Family(
            "bert",
            "bert",
            "BertConfig",
            "BertForSequenceClassification",
            "AutoModelForSequenceClassification",
            head=("classifier.",),
            # Sentence encoders average their tokens instead.
            optional=("bert.pooler.",),
            positions="max_position_embeddings",
            lora_targets=("query", "value"),
        ),
        Family(
            "gpt2",
            "gpt2",
            "GPT2Config",
            "GPT2LMHeadModel",
            "AutoModelForCausalLM",
            positions="n_positions",
            lora_targets=("c_attn",),
        ),
        Family(
            "whisper",
            "whisper",
            "WhisperConfig",
            "WhisperForConditionalGeneration",
            "AutoModelForSpeechSeq2Seq",
            # Sines of the position: a model that hears fewer seconds has fewer of them.
            optional=("model.encoder.embed_positions.",),
            positions="max_target_positions",
            lora_targets=("q_proj", "v_proj"),
        ),
    )
}
