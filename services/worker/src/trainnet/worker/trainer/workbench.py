"""What a trainer keeps from one task to the next: its device, prepared inputs, and the last model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.task_pb2 import ModelParts, ModelSpec
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.inputs.examples import Examples
from trainnet.worker.trainer.inputs.store import InputStore
from trainnet.worker.trainer.kept import KeptStates
from trainnet.worker.trainer.models import Model, build_model


@dataclass
class _Kept:
    key: bytes
    model: Model
    compiled: Any = None


class Workbench:
    """One for each trainer process."""

    def __init__(self, device: torch.device, inputs: InputStore) -> None:
        self.device = device
        self._inputs = inputs
        self.states = KeptStates(inputs.folder)
        self._kept: _Kept | None = None

    def model(self, spec: ModelSpec, parts: ModelParts, inputs: Mapping[str, Path]) -> Model:
        """The model of a task on the device; its weights are whatever the task before left. Raises TaskError.

        The rounds of a job need the same one again and again, and building it may take longer than training it.
        """
        digest = hashlib.sha256(spec.SerializeToString(deterministic=True))
        digest.update(f"{parts.bundle.digest}\n{parts.frozen.digest}".encode())
        key = digest.digest()
        if self._kept is None or self._kept.key != key:
            self._kept = None  # room for the new one
            model = build_model(spec, 0, inputs.get("bundle"), inputs.get("frozen"))
            model.module.to(self.device)
            if self.device.type != "mps":
                # Convolutions and pooling want the channels of a pixel together: a third of their time is saved.
                model.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs lack it
            self._kept = _Kept(key, model)
        return self._kept.model

    def compiled(self, model: Model) -> nn.Module:
        """Its module, compiled; once for all rounds."""
        if self._kept is None or self._kept.model is not model:
            raise AssertionError("not the model of this task")
        if self._kept.compiled is None:
            self._kept.compiled = torch.compile(model.module)
        compiled: nn.Module = self._kept.compiled
        return compiled

    def examples(self, artifact: Artifact, name: str, model: Model, context: TaskContext) -> Examples:
        """The examples of an input as the model takes them. Raises TaskError and Cancelled."""
        return self._inputs.open(
            artifact.digest, context.inputs[name], model.encoding, on_block=context.check_cancelled
        )
