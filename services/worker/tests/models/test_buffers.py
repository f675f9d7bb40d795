"""Initial weights say which of their tensors no gradient moves."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from services.worker.tests.models.scene import Scene
from trainnet.runtime.tensors import BUFFERS
from trainnet.worker.trainer.models.model import Model
from trainnet.worker.trainer.weights import read_map, write_weights


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "mlp", "gpt2"])
def test_architectures_of_the_catalogue(scene: Scene, architecture: str) -> None:
    _, made = scene.start(scene.spec(architecture))
    found = read_map(made["base"].path)
    buffers = json.loads(found.metadata.get(BUFFERS, "[]"))
    statistics = [tensor.name for tensor in found.tensors if "running_" in tensor.name]
    assert buffers == statistics
    assert bool(buffers) == (architecture == "mobilenet_v2")


def model_of(module: nn.Module) -> Model:
    unused: Any = None
    return Model(module, unused, unused)


def test_running_statistics_are_named(tmp_path: Path) -> None:
    model = model_of(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    assert model.buffers() == ["1.running_mean", "1.running_var"]
    write_weights("base", tmp_path / "base", model.weights(), model.buffers())
    found = read_map(tmp_path / "base")
    assert json.loads(found.metadata[BUFFERS]) == model.buffers()
    assert {tensor.name for tensor in found.tensors} > set(model.buffers())


def test_weights_that_stand_in_two_places_are_learnt() -> None:
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    module[1].weight = module[0].weight  # as a language model ties them
    assert model_of(module).buffers() == []


def test_models_without_buffers_have_the_header_they_always_had(tmp_path: Path) -> None:
    model = model_of(nn.Linear(3, 4))
    write_weights("base", tmp_path / "base", model.weights(), model.buffers())
    assert read_map(tmp_path / "base").metadata == {}
