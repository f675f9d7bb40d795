"""What a worker keeps of a shard from round to round: only ever what belongs to the update that it is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec
from trainnet.v1.task_pb2 import InitializeSpec, TaskSpec, TrainSpec
from trainnet.worker.protocol import OutputFile
from trainnet.worker.trainer.inputs.folder import InputFolder
from trainnet.worker.trainer.kept import KeptStates

TOPK = Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=64, keep=4, feedback=0.95)
KEPT_AFRESH = "nothing is kept of this shard's last update, beginning afresh"


def digest_of(update: OutputFile) -> str:
    return f"sha256:{update.part_sha256[0].hex()}"


class Shard:
    """One shard of a job, trained round after round from the same base."""

    def __init__(self, tasks: Any, model_of: Any, path: Path) -> None:
        self.tasks = tasks
        schema, _, self.shards = tasks.prepare(path, shards=1)
        self.model = model_of("mlp", schema)
        _, made = tasks.run(TaskSpec(initialize=InitializeSpec(model=self.model, seed=3)))
        self.base = made["base"].path

    def train(self, previous: str = "", *, job: str = "jobs/one", shard: int = 0, **spec: Any) -> str:
        """The digest of an update."""
        task = TrainSpec(
            model=self.model, epochs=1, seed=5, round=1, shard_index=shard, previous_update=previous, **spec
        )
        task.shard.digest = digest_of(self.shards["shard-0"])
        _, outputs = self.tasks.run(TaskSpec(job=job, train=task), base=self.base, shard=self.shards["shard-0"].path)
        return digest_of(outputs["update"])

    @property
    def folder(self) -> Path:
        path: Path = self.tasks._folder / "inputs"
        return path

    def kept(self) -> list[Path]:
        return sorted(self.folder.glob("kept-*"))


@pytest.fixture
def iris(tasks: Any, model_of: Any, iris_csv: Path) -> Shard:
    return Shard(tasks, model_of, iris_csv)


@pytest.mark.parametrize("spec", [{"codec": TOPK}, {"keep_optimizer": True}, {"codec": TOPK, "keep_optimizer": True}])
def test_a_round_goes_on_from_the_update_that_it_is_told_of(iris: Shard, spec: dict[str, Any]) -> None:
    first = iris.train(**spec)
    with capture_logs() as logs:
        second = iris.train(first, **spec)
        assert second != first, "what was kept counts"
        assert iris.train(first, **spec) == second, "the same state gives the same bytes"
        third = iris.train(second, **spec)
    assert third != second
    assert not logs
    assert len(iris.kept()) == 2, "the newest and the one that it was made from"


def test_a_round_begins_afresh_where_nothing_belongs_to_that_update(iris: Shard) -> None:
    first = iris.train(codec=TOPK)
    for told in (
        {"previous": "sha256:" + "0" * 64},
        {"previous": first, "shard": 1},
        {"previous": first, "job": "jobs/b"},
    ):
        with capture_logs() as logs:
            assert iris.train(codec=TOPK, **told) == first
        assert [entry["event"] for entry in logs] == [KEPT_AFRESH]


def test_what_is_damaged_does_not_count(iris: Shard) -> None:
    first = iris.train(codec=TOPK)
    (entry,) = iris.kept()
    data = bytearray((entry / "left-out.bin").read_bytes())
    data[5] ^= 1
    (entry / "left-out.bin").write_bytes(data)
    with capture_logs() as logs:
        assert iris.train(first, codec=TOPK) == first
    assert [entry["event"] for entry in logs] == ["what was kept of an update is damaged", KEPT_AFRESH]


def test_codecs_without_a_rest_keep_nothing(iris: Shard) -> None:
    for kind in (codec_pb2.CODEC_KIND_FP32, codec_pb2.CODEC_KIND_BF16, codec_pb2.CODEC_KIND_INT8):
        iris.train(codec=Codec(kind=kind, block_size=64))
    without = Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=64, keep=4, feedback=0.0)
    iris.train(codec=without)
    assert not iris.kept()


def test_no_room_is_no_failure(tmp_path: Path) -> None:
    states = KeptStates(InputFolder(tmp_path, 1000))
    update = OutputFile("update", tmp_path / "update", 4, (bytes(32),))
    with capture_logs() as logs, states.round("jobs/one", 0, "") as kept:
        with kept.left_out(1000) as left_out:
            for _ in range(4):
                left_out.write(torch.zeros(250).numpy())
        kept.finish(update)
    assert [entry["event"] for entry in logs] == ["no room to keep anything of this round: raise --max-disk"]
    assert not list(tmp_path.glob("kept-*"))


@pytest.mark.parametrize("name", ["adamw", "sgd", "plain sgd"])
def test_an_optimizer_goes_on_to_the_bit(tmp_path: Path, name: str) -> None:
    """Weights whose channels lie together included: fused kernels do not look at how memory is ordered."""
    generator = torch.Generator().manual_seed(1)
    gradients = [[torch.randn(shape, generator=generator) for shape in ((8, 4, 3, 3), (8,))] for _ in range(6)]

    def made() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        weight = torch.ones(8, 4, 3, 3).to(memory_format=torch.channels_last)
        parameters = [torch.nn.Parameter(weight), torch.nn.Parameter(torch.ones(8))]
        if name == "adamw":
            return parameters, torch.optim.AdamW(parameters, lr=0.1, fused=True)
        return parameters, torch.optim.SGD(parameters, lr=0.1, momentum=0.9 if name == "sgd" else 0.0, fused=True)

    def step(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, index: int) -> None:
        for parameter, gradient in zip(parameters, gradients[index], strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()

    states = KeptStates(InputFolder(tmp_path, 10**8))
    expected, whole = made()
    for index in range(6):
        step(expected, whole, index)
    found, first = made()
    for index in range(3):
        step(found, first, index)
    update = OutputFile("update", tmp_path / "update", 4, (bytes(32),))
    with states.round("jobs/one", 0, "") as kept:
        kept.store(first)
        kept.finish(update)
    again, second = made()
    with torch.no_grad():
        for parameter, value in zip(again, found, strict=True):
            parameter.copy_(value)
    with states.round("jobs/one", 0, digest_of(update)) as kept:
        kept.restore(second)
    for index in range(3, 6):
        step(again, second, index)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
