from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from services.worker.tests.models.scene import DATA_OF, Scene, batches, digests, learn, paths
from trainnet.v1 import task_pb2
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models import build_model
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.transcription import edits
from trainnet.worker.trainer.weights import read_map, read_weights

ARCHITECTURES = sorted(DATA_OF)


def built(scene: Scene, architecture: str, seed: int = 1, **changes: Any) -> Any:
    spec = scene.spec(architecture, **changes)
    _, outputs = scene.start(spec, seed=seed)
    model = build_model(spec, 0, **paths(outputs, "bundle", "frozen"))
    model.load(read_weights(outputs["base"].path))
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_and_counts(scene: Scene, architecture: str) -> None:
    model, shard = built(scene, architecture), scene.shard(architecture)
    losses = learn(model, shard.path, steps=12)
    assert losses[-1] < losses[0]
    sums: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for batch in batches(model, shard.path):
            for name, value in model.objective.tally(model.module, batch).items():
                sums[name] = sums[name] + value if name in sums else value
    metrics = model.objective.metrics(sums)
    assert all(math.isfinite(value) for value in metrics.values())
    confusion = model.objective.confusion(sums)
    if architecture == "gpt2":
        assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))
        assert confusion is None
    elif architecture == "whisper":
        assert metrics["word_error_rate"] >= 0
    else:
        classes = [item.name for item in shard.schema.classes]
        assert confusion.classes == classes
        assert sum(confusion.counts) == shard.schema.rows
        right = sum(confusion.counts[index * len(classes) + index] for index in range(len(classes)))
        assert metrics["accuracy"] == right / shard.schema.rows


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_fixes_every_byte(scene: Scene, architecture: str) -> None:
    spec = scene.spec(architecture)
    result, first = scene.start(spec, seed=3)
    _, second = scene.start(spec, seed=3)
    _, other = scene.start(spec, seed=4)
    assert digests(first) == digests(second)
    assert digests(first)["base"] != digests(other)["base"]
    assert first.keys() == ({"base", "bundle"} if architecture in FAMILIES else {"base"})
    assert result.parameters == result.trainable_parameters
    assert result.parameters == sum(tensor.count for tensor in read_map(first["base"].path).tensors)


def test_what_is_tied_travels_once_and_counters_stay_at_home(scene: Scene) -> None:
    gpt2, mobile = built(scene, "gpt2"), built(scene, "mobilenet_v2")
    assert "lm_head.weight" not in gpt2.weights()
    assert gpt2.module.lm_head.weight is gpt2.module.transformer.wte.weight
    assert not any(name.endswith("num_batches_tracked") for name in mobile.weights())
    assert any(name.endswith("running_var") for name in mobile.weights())
    # What it has seen since the last round is still there in the next.
    assert all(layer.momentum == 0.1 for layer in mobile.module.modules() if isinstance(layer, torch.nn.BatchNorm2d))


def test_padding_counts_for_nothing(scene: Scene) -> None:
    model = built(scene, "gpt2", max_length=7)
    model.module.eval()
    last = list(batches(model, scene.shard("gpt2").path))[-1]
    assert (last["labels"] < 0).any()
    with torch.no_grad():
        before = model.objective.tally(model.module, last)
        last["input_ids"] = last["input_ids"].masked_fill(last["labels"] < 0, 5)
        after = model.objective.tally(model.module, last)
    assert torch.equal(before["tokens"], after["tokens"])
    assert torch.allclose(before["loss"], after["loss"])


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("bert", {"config.hidden_size": 33}, r"config\.hidden_size=33.*makes no bert"),
        ("gpt2", {"config.activation_function": "nonsense"}, r"config\.activation_function=nonsense"),
        ("distilbert", {"config.dropout": 1.5}, r"config\.dropout=1\.5"),
        ("bert", {"config.hidden_size": 2.5}, r"config\.hidden_size is not a whole number"),
        ("bert", {"config.hidden_act": 3}, r"config\.hidden_act is not a word"),
        ("gpt2", {"config.n_embd": 4_000_000}, "billion parameters"),
        ("gpt2", {"config.n_layer": 5000}, r"config\.n_layer is 5000"),
        ("gpt2", {"size": "huge"}, "size is 'huge', none of tiny, small, base"),
        ("gpt2", {"config.n_positions": 8}, "max_length=24 is more than the 8 tokens"),
        ("vit", {"config.patch_size": 9}, r"config\.patch_size=9 is larger than the images of 8 x 8"),
        ("whisper", {"config.max_source_positions": 7}, r"config\.max_source_positions=7 is not 50 a second"),
        ("bert", {"lora.rank": 2, "lora.targets": "query,nothing"}, r"lora\.targets names 'nothing'.*key, query"),
    ],
)
def test_what_does_not_go_together_is_named(
    scene: Scene, architecture: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        scene.start(scene.spec(architecture, **changes))
    assert caught.value.reason == "TASK"


@pytest.mark.parametrize("name", ["size", "config.n_layer", "lora.rank", "lora.targets", "max_length", "vocab_size"])
def test_a_missing_hyperparameter_is_named(scene: Scene, name: str) -> None:
    spec = scene.spec("gpt2")
    del spec.hyperparameters.fields[name]
    with pytest.raises(TaskError, match=rf"the hyperparameter {name}\b"):
        scene.start(spec)


@pytest.mark.parametrize(
    ("architecture", "data", "message"),
    [
        ("vit", "texts", "has no column of images"),
        ("gpt2", "images", "has no column of text"),
        ("bert", "sounds", "has no column of text"),
        ("whisper", "texts", "has no column of sound"),
    ],
)
def test_data_of_another_kind(scene: Scene, architecture: str, data: str, message: str) -> None:
    spec: task_pb2.ModelSpec = scene.spec(architecture)
    spec.schema.CopyFrom(scene.shards[data].schema)
    with pytest.raises(TaskError, match=message):
        scene.start(spec, sample=scene.shards[data].path)


def test_text_models_need_a_sample(scene: Scene) -> None:
    spec = scene.spec("distilbert")
    with pytest.raises(TaskError, match="no sample to train a tokenizer on"):
        build_model(spec, 1)


def test_edits() -> None:
    assert edits(["a", "b", "c"], ["a", "c"]) == 1
    assert edits([], ["a", "b"]) == 2
    assert edits(["a", "b"], ["b", "a"]) == 2
    assert edits(["a", "b"], ["a", "b"]) == 0
