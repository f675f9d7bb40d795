from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from services.worker.tests.models.scene import DATA_OF, Scene, batches, digests, learn, paths
from trainnet.v1 import task_pb2
from trainnet.v1.dataset_pb2 import SHARD_KIND_STRATIFIED, ShardPlan
from trainnet.worker.trainer.models import Model, build_model
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.objectives import logits_of
from trainnet.worker.trainer.weights import read_weights, write_weights

ADAPTED = [name for name, family in FAMILIES.items() if family.lora_targets]


def told(spec: task_pb2.ModelSpec, **changes: Any) -> task_pb2.ExportSpec:
    """What the coordinator tells of a job of two rounds."""
    metrics = {"gpt2": "perplexity", "whisper": "word_error_rate"}.get(spec.architecture, "accuracy")
    export = task_pb2.ExportSpec(
        model=spec,
        round=2,
        display_name="Mine | <b>bold</b>",
        dataset_name='a "set"',
        plan=ShardPlan(kind=SHARD_KIND_STRATIFIED, shards=2, seed=4),
        shard_rows=[11, 12],
        holdout_rows=5,
        epochs=1,
        initial_digest="sha256:" + "1" * 64,
        **changes,
    )
    for number in range(3):
        record = export.rounds.add(number=number, metrics={metrics: 0.5 + number / 10, "loss": 1.0 - number / 10})
        if number:
            record.train_loss, record.merged_sha256 = 1.1 - number / 10, f"{number}" * 64
            record.updates.add(shard=0, worker="workers/w1", digest="sha256:" + "a" * 64, examples=11)
    if metrics == "accuracy":
        count = len(spec.schema.classes)
        export.confusion.classes.extend(item.name for item in spec.schema.classes)
        export.confusion.counts.extend(range(count * count))
    return export


def trained(scene: Scene, spec: task_pb2.ModelSpec) -> tuple[Model, dict[str, Path]]:
    """A model that has learnt a little, and its files as an export gets them."""
    _, outputs = scene.start(spec)
    parts = paths(outputs, "bundle", "frozen")
    model = build_model(spec, 0, **parts)
    model.load(read_weights(outputs["base"].path))
    learn(model, scene.shard(spec.architecture).path, steps=3)
    weights = write_weights("weights", outputs["base"].path.with_name("trained"), model.weights()).path
    return model, {**parts, "weights": weights}


@pytest.mark.parametrize(
    ("architecture", "rank"), [*((name, 0) for name in FAMILIES), *((name, 3) for name in ADAPTED)]
)
def test_transformers_loads_the_folder_as_it_is(scene: Scene, architecture: str, rank: int) -> None:
    spec, shard = scene.spec(architecture, **{"lora.rank": rank}), scene.shard(architecture)
    model, files = trained(scene, spec)
    folder, _ = scene.export(told(spec), **files)
    loader = getattr(transformers, FAMILIES[architecture].auto_class)
    loaded, found = loader.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    batch = next(batches(model, shard.path))
    if architecture == "whisper":
        batch["decoder_input_ids"] = batch["labels"].clamp(min=0)
    with torch.no_grad():
        ours, theirs = logits_of(model.module, batch), logits_of(loaded.eval(), batch)
    # An adapter is added to the weights, so that the last digits differ.
    torch.testing.assert_close(theirs, ours, rtol=1e-4 if rank else 0, atol=1e-5 if rank else 0)
    if shard.schema.classes and architecture != "gpt2":
        names = [item.name for item in shard.schema.classes]
        assert loaded.config.id2label == dict(enumerate(names))
        assert loaded.config.label2id == {name: index for index, name in enumerate(names)}
    _check_inputs(architecture, folder, shard.rows(), batch)


def _check_inputs(architecture: str, folder: Path, rows: list[dict[str, Any]], batch: dict[str, torch.Tensor]) -> None:
    """The folder's own tokenizer or processor makes of a row what training made of it."""
    if architecture in {"vit", "mobilenet_v2"}:
        processor: Any = transformers.AutoImageProcessor
        images = [Image.open(io.BytesIO(row["image"])) for row in rows]
        pixels = processor.from_pretrained(folder)(images, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels, batch["pixel_values"], rtol=0, atol=0)
    elif architecture in {"distilbert", "bert"}:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        texts = [row["text"] for row in rows]
        encoded = tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
        assert torch.equal(encoded["input_ids"], batch["input_ids"])
        assert torch.equal(encoded["attention_mask"], batch["attention_mask"])
    elif architecture == "gpt2":
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        ids = [token for row in rows for token in [*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id]]
        assert batch["input_ids"].flatten()[: len(ids)].tolist() == ids[: batch["input_ids"].numel()]
    else:
        import soundfile

        reader: Any = transformers.AutoProcessor
        processor = reader.from_pretrained(folder)
        sounds = [soundfile.read(io.BytesIO(row["audio"]))[0] for row in rows]
        features = processor(audio=sounds, sampling_rate=16_000, return_tensors="pt")["input_features"]
        torch.testing.assert_close(features, batch["input_features"], rtol=0, atol=1e-5)
        assert processor.tokenizer(rows[0]["said"])["input_ids"] == [t for t in batch["labels"][0].tolist() if t >= 0]


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_the_card_s_own_lines_load_a_plain_model(
    scene: Scene, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, shard = scene.spec(architecture), scene.shard(architecture)
    model, files = trained(scene, spec)
    folder, _ = scene.export(told(spec), **files)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code, names)  # the card's own lines are what is tested
    batch = next(batches(model, shard.path))
    with torch.no_grad():
        ours = logits_of(model.module, batch)
        if architecture == "mlp":
            theirs = torch.cat([names["model"](names["encode"](row)) for row in shard.rows()])
        else:
            theirs = names["model"](batch["pixel_values"])
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", sorted(DATA_OF))
def test_the_same_job_exports_the_same_bytes(scene: Scene, architecture: str) -> None:
    spec = scene.spec(architecture)
    _, files = trained(scene, spec)
    folder, first = scene.export(told(spec), **files)
    _, second = scene.export(told(spec), **files)
    assert digests(first) == digests(second)
    assert set(first) == {f"model/{path.name}" for path in folder.iterdir()}
    assert {"model/README.md", "model/config.json", "model/model.safetensors", "model/loss.png"} <= set(first)
    metric = {"gpt2": "perplexity", "whisper": "word_error_rate"}.get(architecture, "accuracy")
    assert f"model/{metric}.png" in first
    assert ("model/confusion.png" in first) == (metric == "accuracy")
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert image.size[0] < 1500
        assert path.stat().st_size < 200_000
    everything = b"".join(path.read_bytes() for path in folder.iterdir() if path.suffix in {".json", ".md"})
    assert os.fsencode(folder.parent) not in everything


def test_the_card(scene: Scene) -> None:
    spec = scene.spec("distilbert", learning_rate=0.125)
    _, files = trained(scene, spec)
    base = task_pb2.BaseModel(hub="someone/encoder@main")
    folder, _ = scene.export(told(spec, base=base, weights={"digest": "sha256:" + "f" * 64}), **files)
    card = (folder / "README.md").read_text()
    matter = card.split("---\n")[1]
    assert "pipeline_tag: text-classification" in matter
    assert 'base_model: "someone/encoder"' in matter
    assert 'name: "a \\"set\\""' in matter
    assert "value: 0.7" in matter
    # What an owner writes is text, never markup.
    assert r"# Mine \| \<b\>bold\</b\>" in card
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    for line in (
        f"`model.safetensors` SHA-256 `{sha256}`",
        "one pass over every shard",
        "starting from `someone/encoder@main`",
        "Dealt out stratified to 2 shards with seed 4; 5 rows were held out.",
        "| text | text | 0 |",
        "| farm | 12 |",
        "| `learning_rate` | 0.125 |",
        "| start |  | 0.5000 | 1.0000 |",
        "| 2 | 0.9000 | 0.7000 | 0.8000 |",
        "![confusion](confusion.png)",
        "| sea | 2 | 3 |",
        "merged weights of round 2 `sha256:ffff",
        "| 1 | `1111",
        "| 0 | workers/w1 | 11 | `sha256:aaaa",
    ):
        assert line in card
    provenance = json.loads((folder / "provenance.json").read_bytes())
    assert provenance["started_from"] == "someone/encoder@main"
    assert provenance["rounds"][2]["updates"][0]["worker"] == "workers/w1"


def test_many_rounds_and_classes_stay_readable(scene: Scene) -> None:
    spec = scene.spec("mlp")
    _, files = trained(scene, spec)
    long = told(spec)
    for number in range(3, 1000):
        long.rounds.add(number=number, metrics={"accuracy": 0.9}, train_loss=0.5)
    long.round = 999
    long.confusion.classes[:] = [f"class $x_{number}" for number in range(100)]
    long.confusion.counts[:] = [1] * 10_000
    folder, _ = scene.export(long, **files)
    card = (folder / "README.md").read_text()
    assert len(card) < 20_000
    assert "| 999 | 0.5000 | 0.9000 |" in card
    assert (folder / "confusion.png").stat().st_size < 300_000


def test_noop_has_weights_and_a_card(scene: Scene, tmp_path: Path) -> None:
    weights = write_weights("weights", tmp_path / "weights", {"weight": torch.ones(3)}).path
    spec = task_pb2.ExportSpec(model=task_pb2.ModelSpec(architecture="noop"), round=1)
    folder, _ = scene.export(spec, weights=weights)
    assert (folder / "model.safetensors").read_bytes() == weights.read_bytes()
    assert "noop" in (folder / "README.md").read_text()
