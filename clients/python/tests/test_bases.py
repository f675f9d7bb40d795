"""Models of one's own: uploaded whole and without what could run code, and what jobs start from."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from clients.python.tests.peer import Peer
from clients.python.tests.store import Store
from trainnet.client import Client, InvalidFile, ModelState, NotFound, UploadFailed
from trainnet.v1 import job_pb2


def _weights() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(_weights())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "vocab.txt", "pytorch_model.bin", "training_args.bin", "flow.py"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(_weights())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


def test_a_file_of_weights_becomes_a_model(client: Client, store: Store, weights: Path) -> None:
    model = client.upload_model(weights)
    assert (model.display_name, model.format, model.state) == ("mine.safetensors", "safetensors", ModelState.READY)
    assert store.objects == {f"{model.name}/0": weights.read_bytes()}
    assert client.upload_model(weights).name == model.name
    assert [found.name for found in client.models.list()] == [client.models.get(model.name).name]
    model.delete()
    with pytest.raises(NotFound):
        client.models.get(model.name)


def test_of_a_folder_only_what_describes_the_model_is_taken(client: Client, store: Store, folder: Path) -> None:
    model = client.upload_model(folder)
    assert (model.display_name, model.format) == ("encoder", "folder")
    with zipfile.ZipFile(io.BytesIO(store.objects[f"{model.name}/0"])) as archive:
        assert archive.namelist() == ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]


def test_of_a_plain_architecture_the_weights_are_all(client: Client, store: Store, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architecture": "mlp", "hidden": [4]}))
    model = client.upload_model(folder)
    assert (model.display_name, model.format) == ("encoder", "safetensors")
    assert store.objects == {f"{model.name}/0": _weights()}


def test_a_broken_upload_goes_on(client: Client, store: Store, weights: Path) -> None:
    store.faults.extend(["503"] * 20)
    with pytest.raises(UploadFailed):
        client.upload_model(weights)
    store.faults.clear()
    assert client.upload_model(weights).state is ModelState.READY
    assert len(list(client.models.list())) == 1


@pytest.mark.parametrize(
    ("gone", "complaint", "hint"),
    [
        ("model.safetensors", "has its weights in pytorch_model.bin, a pickle, which can run code", "save_pretrained"),
        ("config.json", "has no config.json", "a folder that `save_pretrained` wrote"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_with_the_remedy(
    client: Client, peer: Peer, folder: Path, gone: str, complaint: str, hint: str
) -> None:
    (folder / gone).unlink()
    with pytest.raises(InvalidFile, match=complaint) as caught:
        client.upload_model(folder)
    assert hint in caught.value.hint
    assert not peer.calls


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("m.bin", b"\x80\x04", "is no .safetensors file; pickles can run code"),
        ("m.safetensors", b"", "is no safetensors file"),
        ("m.safetensors", b"\xff" * 8 + b"{}", "is no safetensors file"),
        ("m.safetensors", (1000).to_bytes(8, "little") + b"{}", "ends too early"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    client: Client, peer: Peer, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidFile, match=complaint):
        client.upload_model(tmp_path / name)
    assert not peer.calls


def test_a_job_starts_from_what_was_named(client: Client, peer: Peer, table: Path, weights: Path, folder: Path) -> None:
    first = client.train(table, "mlp")
    assert (first.base, first.split, first.local_steps, first.epochs) == ("", "iid", 0, 1)
    assert client.train(table, "mlp", base=first).base == "jobs/j1"
    assert client.train(table, "mlp", base="jobs/j1").base == "jobs/j1"
    assert client.train(table, "mlp", base="hub:owner/name@v1.0").base == "hub:owner/name@v1.0"
    assert client.train(table, "mlp", base=weights).base == "models/m1"
    assert client.train(table, "mlp", base=str(folder)).base == "models/m2"
    assert client.train(table, "mlp", base=client.models.get("m1")).base == "models/m1"
    stepped = client.train(table, "mlp", local_steps=7, split="dirichlet", alpha=0.1)
    assert (stepped.local_steps, stepped.epochs, stepped.split, stepped.alpha) == (7, 0, "dirichlet", 0.1)
    assert client.train(table, "mlp", split="dirichlet").alpha == 0.5


def test_what_is_wrong_with_a_base_is_told_before_anything_is_uploaded(
    client: Client, peer: Peer, table: Path, folder: Path
) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidFile, match="a pickle"):
        client.train(table, "mlp", base=folder)
    assert not peer.datasets
    assert not peer.uploaded


def test_a_job_tells_what_it_began_with(client: Client, peer: Peer, table: Path) -> None:
    job = client.train(table, "mlp")
    peer.jobs[job.name].MergeFrom(
        job_pb2.Job(initial_metrics={"perplexity": 31.0}, parameters=1000, trainable_parameters=10, exported=True)
    )
    job.refresh()
    assert (job.initial_metrics, job.parameters, job.trainable_parameters) == ({"perplexity": 31.0}, 1000, 10)
    assert job.exported
