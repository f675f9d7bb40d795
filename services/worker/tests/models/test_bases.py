from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.worker.tests.models.scene import Scene, batches, digests, learn, paths
from trainnet.v1 import task_pb2
from trainnet.v1.dataset_pb2 import LabelClass
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models import Model, build_model
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.folder import WEIGHTS
from trainnet.worker.trainer.weights import read_weights, write_weights

JOB = task_pb2.BaseModel(job="jobs/before")
UPLOAD = task_pb2.BaseModel(model="models/mine")


def exported(scene: Scene, spec: task_pb2.ModelSpec) -> Path:
    _, outputs = scene.start(spec)
    folder, _ = scene.export(
        task_pb2.ExportSpec(model=spec, round=1), weights=outputs["base"].path, **paths(outputs, "bundle", "frozen")
    )
    return folder


def zipped(folder: Path, target: Path, *, prefix: str = "", change: dict[str, bytes | None] | None = None) -> Path:
    files: dict[str, bytes | None] = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= change or {}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(prefix + name, content)
    return target


def with_classes(spec: task_pb2.ModelSpec, *names: str) -> task_pb2.ModelSpec:
    other = task_pb2.ModelSpec()
    other.CopyFrom(spec)
    del other.schema.classes[:]
    other.schema.classes.extend(LabelClass(name=name, rows=1) for name in names)
    return other


def loss_of(model: Model, path: Path) -> float:
    return float(model.objective.loss(model.module, next(batches(model, path))))


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "mobilenet_v2", *sorted(FAMILIES.keys() - {"mobilenet_v2"})])
def test_going_on_with_an_earlier_job(scene: Scene, architecture: str) -> None:
    spec = scene.spec(architecture)
    _, before = scene.start(spec, seed=1)
    given: dict[str, Any] = {"base": JOB, "base_spec": spec, **paths(before, "bundle", prefix="base_")}
    result, after = scene.start(spec, seed=2, base_weights=before["base"].path, **given)
    assert digests(after) == digests(before)
    assert result.trainable_parameters == result.parameters


@pytest.mark.parametrize("architecture", ["vit", "distilbert", "bert", "gpt2", "whisper"])
def test_an_adapter_on_an_earlier_job_and_back(scene: Scene, architecture: str) -> None:
    spec, adapted = scene.spec(architecture), scene.spec(architecture, **{"lora.rank": 2, "lora.dropout": 0.1})
    _, before = scene.start(spec)
    given: dict[str, Any] = {"base": JOB, "base_spec": spec, **paths(before, "bundle", prefix="base_")}
    result, lora = scene.start(adapted, base_weights=before["base"].path, **given)
    assert digests(lora)["frozen"] == digests(before)["base"]
    assert result.trainable_parameters < result.parameters / 3
    family = FAMILIES[architecture]
    assert all(".lora_" in name or family.is_head(name) for name in read_weights(lora["base"].path))

    # Trained, then merged by a job that goes on with all weights: it computes what the adapter computed.
    model = build_model(adapted, 7, **paths(lora, "bundle", "frozen"))
    model.load(read_weights(lora["base"].path))
    losses = learn(model, scene.shard(architecture).path, steps=20, rate=0.03)
    assert min(losses[-5:]) < losses[0]
    trained = write_weights("base", lora["base"].path.with_name("trained"), model.weights()).path
    given = {"base": JOB, "base_spec": adapted, **paths(lora, "bundle", "frozen", prefix="base_")}
    _, merged = scene.start(spec, base_weights=trained, **given)
    whole = build_model(spec, 7, merged["bundle"].path)
    whole.load(read_weights(merged["base"].path))
    whole.module.eval()
    with torch.no_grad():
        before_merge, after_merge = (loss_of(one, scene.shard(architecture).path) for one in (model, whole))
    assert after_merge == pytest.approx(before_merge, rel=1e-4)


def test_other_classes_get_a_new_head(scene: Scene) -> None:
    for architecture, head in (("distilbert", ("classifier.", "pre_classifier.")), ("mlp", ("output.",))):
        spec = scene.spec(architecture)
        _, before = scene.start(spec, seed=1)
        other = with_classes(spec, "yes", "no", "perhaps", "never")
        given: dict[str, Any] = {"base": JOB, "base_spec": spec, **paths(before, "bundle", prefix="base_")}
        _, after = scene.start(other, seed=2, base_weights=before["base"].path, **given)
        old, new = read_weights(before["base"].path), read_weights(after["base"].path)
        same = {name for name in old if old[name].shape == new[name].shape and torch.equal(old[name], new[name])}
        assert {name for name in old if not name.startswith(head)} <= same
        assert not {name for name in same if name.startswith(head) and name.endswith("weight")}
        assert len(new[f"{head[0]}weight"]) == 4


def test_a_job_of_another_architecture_or_shape(scene: Scene) -> None:
    spec = scene.spec("mlp")
    _, before = scene.start(spec)
    with pytest.raises(TaskError, match="jobs/before trained mlp, this job trains cnn"):
        scene.start(scene.spec("cnn"), base=JOB, base_spec=spec, base_weights=before["base"].path)
    with pytest.raises(TaskError, match=r"tensor hidden\.0\.weight is \(8, 6\) in the base, the model has \(9, 6\)"):
        scene.start(scene.spec("mlp", hidden=[9]), base=JOB, base_spec=spec, base_weights=before["base"].path)
    broken = read_weights(before["base"].path)
    broken["output.bias"][0] = torch.nan
    path = write_weights("base", before["base"].path.with_name("nan"), broken).path
    with pytest.raises(TaskError, match=r"tensor output\.bias holds values that are not finite"):
        scene.start(spec, base=JOB, base_spec=spec, base_weights=path)


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
def test_an_uploaded_folder(scene: Scene, tmp_path: Path, architecture: str) -> None:
    spec = scene.spec(architecture)
    folder = exported(scene, spec)
    base = zipped(folder, tmp_path / "model.zip", prefix="some/where/")
    # Its own configuration counts, not the size that is asked for.
    asked = scene.spec(architecture, size="base", **dict.fromkeys(_fields(spec)))
    result, after = scene.start(asked, seed=9, base=UPLOAD, base_weights=base)
    _, before = scene.start(spec)
    assert digests(after)["base"] == digests(before)["base"]
    assert digests(after)["bundle"] == digests(before)["bundle"]
    assert result.parameters == result.trainable_parameters


def _fields(spec: task_pb2.ModelSpec) -> list[str]:
    return [name for name in spec.hyperparameters.fields if name.startswith("config.")]


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "vit", "mobilenet_v2"])
def test_uploaded_weights_alone(scene: Scene, tmp_path: Path, architecture: str) -> None:
    spec = scene.spec(architecture)
    folder = exported(scene, spec)
    _, before = scene.start(spec)
    for path in (before["base"].path, folder / WEIGHTS):
        if architecture in FAMILIES and path.name != WEIGHTS:
            continue  # names of this version of transformers; what it writes are those of all versions
        _, after = scene.start(spec, seed=9, base=UPLOAD, base_weights=path)
        assert digests(after) == digests(before)
    more = {**read_weights(before["base"].path), "another.weight": torch.zeros(2)}
    extra = write_weights("base", tmp_path / "more", more).path
    with pytest.raises(TaskError, match=r"tensor another\.weight is .* in the base, the model has no such tensor"):
        scene.start(spec, base=UPLOAD, base_weights=extra)


def test_a_text_model_needs_the_tokenizer_of_its_base(scene: Scene) -> None:
    folder = exported(scene, scene.spec("gpt2"))
    with pytest.raises(TaskError, match="upload the model's folder as a zip"):
        scene.start(scene.spec("gpt2"), base=UPLOAD, base_weights=folder / WEIGHTS)


def test_a_folder_that_does_not_fit(scene: Scene, tmp_path: Path) -> None:
    folder = exported(scene, scene.spec("bert"))
    config = json.loads((folder / "config.json").read_bytes())

    def start(architecture: str = "bert", change: dict[str, Any] | None = None, **fields: Any) -> None:
        files = {"config.json": json.dumps({**config, **fields}).encode(), **(change or {})}
        base = zipped(folder, tmp_path / "model.zip", change=files)
        scene.start(
            scene.spec(architecture, **dict.fromkeys(_fields(scene.spec(architecture)))), base=UPLOAD, base_weights=base
        )

    start()
    for message, given in (
        (r"says model_type 'bert', the architecture is 'distilbert'", {"architecture": "distilbert"}),
        (r"tensor bert\.encoder\.layer\.0\.intermediate\.dense\.weight is \(32, 32\) in the base.*\(40, 32\)",
         {"intermediate_size": 40}),
        (r"vocab_size", {"vocab_size": 7}),
        (r"hidden_size is 99999999", {"hidden_size": 99_999_999}),
        (r"num_hidden_layers is 1000000", {"num_hidden_layers": 1_000_000}),
        (r"hidden_size is '32', of the wrong type", {"hidden_size": "32"}),
        (r"vocab_size is '\[1\]', of the wrong type", {"vocab_size": [1]}),
        (r"config.json is no JSON", {"change": {"config.json": b"{" * 9}}),
        (r"config.json is no JSON", {"change": {"config.json": b"[" * 100_000}}),
        (r"no config.json", {"change": {"config.json": None}}),
        (r"pickles are never read", {"change": {WEIGHTS: None, "pytorch_model.bin": b"\x80\x04"}}),
        (r"the weights cannot be read", {"change": {WEIGHTS: struct.pack("<Q", 1 << 60)}}),
        (r"the weights cannot be read", {"change": {WEIGHTS: b""}}),
        (r"needs a tokenizer.json", {"change": {"tokenizer.json": None}}),
        (r"names '../../secret.safetensors'", {"change": {
            WEIGHTS: None, "model.safetensors.index.json": b'{"weight_map": {"a": "../../secret.safetensors"}}'}}),
        (r"index.json cannot be read", {"change": {WEIGHTS: None, "model.safetensors.index.json": b"7"}}),
    ):  # fmt: skip
        with pytest.raises(TaskError, match=message):
            start(**given)


def test_what_could_make_transformers_run_code_is_left_behind(scene: Scene, tmp_path: Path) -> None:
    folder = exported(scene, scene.spec("bert"))
    config = json.loads((folder / "config.json").read_bytes())
    config |= {
        "auto_map": {"AutoModel": "evil.Model"},
        "_attn_implementation": "evil/kernels",
        "quantization_config": {},
    }
    base = zipped(folder, tmp_path / "m.zip", change={"config.json": json.dumps(config).encode(), "evil.py": b"1 / 0"})
    asked = scene.spec("bert", **dict.fromkeys(_fields(scene.spec("bert"))))
    _, outputs = scene.start(asked, base=UPLOAD, base_weights=base)
    with zipfile.ZipFile(outputs["bundle"].path) as bundle:
        assert set(bundle.namelist()) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
        assert b"evil" not in bundle.read("config.json")
    assert not list(tmp_path.rglob("evil.py"))


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.safetensors", bytes(80 << 20))


def twins(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("config.json", "{}")


def cut(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    path.write_bytes(path.read_bytes()[:-30])


def crowd(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50_000):
            archive.writestr(f"{'x' * 60}{number}", b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bomb, "like a zip bomb"),
        (twins, "two files called config.json"),
        (cut, "cannot be read"),
        (crowd, "far more entries"),
    ],
)
def test_hostile_zips(scene: Scene, tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "model.zip")
    with pytest.raises(TaskError, match=message):
        scene.start(scene.spec("bert"), base=UPLOAD, base_weights=tmp_path / "model.zip")
