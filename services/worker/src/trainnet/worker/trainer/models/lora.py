"""Adapters: low-rank updates of a few layers, trained in place of all weights (LoRA, arXiv:2106.09685)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.hyperparameters import integer, number, text
from trainnet.worker.trainer.models.families import Family
from trainnet.worker.trainer.models.model import Model

_MARK = ".lora_"


class AdaptedModel(Model):
    """A frozen model with an adapter: the adapter and the head of its classes are what travels."""

    def __init__(self, whole: Model, family: Family) -> None:
        super().__init__(whole.module, whole.encoding, whole.objective)
        self._family = family

    def weights(self) -> dict[str, Tensor]:
        """Of the adapter and the head."""
        return {
            name: tensor for name, tensor in super().weights().items() if _MARK in name or self._family.is_head(name)
        }

    def merge(self) -> Model:
        """The whole model with the adapter added to its weights. This one is used up."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, layer in list(self.module.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                self.module.set_submodule(name, layer.get_base_layer())
        return Model(self.module, self.encoding, self.objective)


def rank(family: Family, spec: ModelSpec) -> int:
    """Of the adapter; 0 where all weights are trained. Raises TaskError."""
    if not family.lora_targets:
        return 0
    for name in ("lora.alpha", "lora.dropout"):
        number(spec, name)
    text(spec, "lora.targets")
    return integer(spec, "lora.rank")


def adapt(whole: Model, family: Family, spec: ModelSpec, seed: int) -> AdaptedModel:
    """Puts a seeded adapter on a model, which computes as before until the adapter is trained. Raises TaskError."""
    from peft import LoraConfig, inject_adapter_in_model

    wanted = [name.strip() for name in text(spec, "lora.targets").split(",") if name.strip()]
    targets = wanted or list(family.lora_targets)
    _check_targets(whole.module, family, targets)
    config = LoraConfig(
        r=rank(family, spec),
        lora_alpha=number(spec, "lora.alpha"),  # type: ignore[arg-type]  # any number scales
        lora_dropout=number(spec, "lora.dropout"),
        target_modules=targets,
        # GPT-2 stores the weights of its layers transposed.
        fan_in_fan_out=family.architecture == "gpt2",
    )
    torch.manual_seed(seed)
    inject_adapter_in_model(config, whole.module)
    for name, parameter in whole.module.named_parameters():
        parameter.requires_grad_(_MARK in name or family.is_head(name))
    return AdaptedModel(whole, family)


def _check_targets(module: nn.Module, family: Family, targets: list[str]) -> None:
    from transformers.pytorch_utils import Conv1D

    layers: dict[str, Any] = {name: layer for name, layer in module.named_modules() if name}
    adaptable = {
        name.rsplit(".", 1)[-1]
        for name, layer in layers.items()
        if isinstance(layer, (nn.Linear, Conv1D)) and not family.is_head(f"{name}.") and name not in _tied(module)
    }
    for target in targets:
        if target not in adaptable:
            known = ", ".join(sorted(adaptable))
            raise TaskError("TASK", f"lora.targets names {target!r}, {family.architecture} can adapt {known}")


def _tied(module: nn.Module) -> set[str]:
    """Layers that share their weights with an embedding: an adapter on one would change the other."""
    tied = getattr(module, "_tied_weights_keys", None) or {}
    return {name.rsplit(".", 1)[0] for name in tied}
