"""A shard's examples as tensors, and batches of them on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainnet.worker.trainer.inputs.encoding import Batch

_DEVICE_SHARE = 8


@dataclass(frozen=True, eq=False)
class Examples:
    """Fields by name, each (examples, *shape), in memory or mapped; and how many of the examples were cut."""

    fields: dict[str, Tensor]
    truncated: int

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    @property
    def nbytes(self) -> int:
        """Bytes of all fields."""
        return sum(tensor.nbytes for tensor in self.fields.values())


class Feed:
    """Batches of examples on a device. All of them lie there where they take little of it."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self._device = device
        self._resident = device.type != "cpu" and examples.nbytes <= _room(device)
        self._fields = dict(examples.fields)
        if self._resident:
            self._fields = {name: tensor.to(device) for name, tensor in self._fields.items()}

    def order(self, order: Tensor) -> Tensor:
        """An order of examples, where `batch` wants its parts."""
        return order.to(self._device) if self._resident else order

    def batch(self, index: Tensor) -> Batch:
        """The examples at `index`, a part of an order."""
        # index_select copies whole rows; indexing walks over their elements, ten times slower for images.
        batch = {name: tensor.index_select(0, index) for name, tensor in self._fields.items()}
        if self._resident or self._device.type == "cpu":
            return batch
        pinned = self._device.type == "cuda"
        return {
            name: (tensor.pin_memory() if pinned else tensor).to(self._device, non_blocking=pinned)
            for name, tensor in batch.items()
        }

    def span(self, start: int, stop: int) -> Batch:
        """The examples from `start` to `stop`, without a copy on the processor."""
        return {name: tensor[start:stop].to(self._device) for name, tensor in self._fields.items()}


def _room(device: torch.device) -> int:
    """Bytes that examples may take of a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // _DEVICE_SHARE
    return 1 << 30
