"""What only an accelerator shows. Deselected where there is none: `pytest -m gpu`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from services.worker.tests.test_loop import Round
from trainnet.v1.task_pb2 import InitializeSpec, TaskSpec
from trainnet.worker.agent.trainers import TrainerProcess
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.weights import read_weights

pytestmark = pytest.mark.gpu


@pytest.fixture
def digits(tasks: Any, model_of: Any, digits_parquet: Path) -> Round:
    return Round(tasks, model_of, digits_parquet, "cnn")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_training_repeats_to_the_byte_and_learns(digits: Round, precision: str) -> None:
    result, first = digits.train(spec={"epochs": 4}, precision=precision, gradient_clip=5.0)
    _, second = digits.train(spec={"epochs": 4}, precision=precision, gradient_clip=5.0)
    assert first.part_sha256 == second.part_sha256
    assert result.metrics["loss"] < 1.0


def test_a_transformer_with_dropout_repeats_to_the_byte(tasks: Any, model_of: Any, reviews_csv: Path) -> None:
    texts = Round(tasks, model_of, reviews_csv, "distilbert")
    assert texts.train()[1].part_sha256 == texts.train()[1].part_sha256


def test_precisions_differ_little_and_do_differ(digits: Round) -> None:
    _, exact = digits.train(precision="fp32")
    _, rough = digits.train(precision="auto")
    assert exact.part_sha256 != rough.part_sha256
    expected, found = read_weights(exact.path), read_weights(rough.path)
    scale = max(float(tensor.abs().max()) for tensor in expected.values())
    assert all(torch.allclose(found[name], expected[name], atol=0.2 * scale) for name in expected)


def test_a_compiled_model_learns_the_same(digits: Round) -> None:
    plain, _ = digits.train(spec={"epochs": 4}, precision="fp32")
    compiled, _ = digits.train(spec={"epochs": 4}, precision="fp32", compile=True)
    assert compiled.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=0.05)


def test_out_of_memory_halves_the_batches_once(tasks: Any, model_of: Any, iris_csv: Path) -> None:
    free, total = torch.cuda.mem_get_info()
    held = torch.empty(free - (6 << 30), dtype=torch.uint8, device="cuda") if free > 7 << 30 else None
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (2 << 30)) / total)
    try:
        iris = Round(tasks, model_of, iris_csv)
        # A batch of 120 rows makes tensors of 720 MB, of which at least three are needed.
        result, _ = iris.train(hidden=[1_500_000], batch_size=120, precision="fp32")
        assert result.metrics["batch_size"] == 60
        with pytest.raises(TaskError, match="out of memory, also with batches of 60 in place of 120"):
            Round(tasks, model_of, iris_csv).train(hidden=[8_000_000], batch_size=120, precision="fp32")
    finally:
        del held
        torch.cuda.set_per_process_memory_fraction(1.0)


async def test_slots_share_the_devices(tmp_path: Path, model_of: Any, eventually: Any) -> None:
    trainers = [
        TrainerProcess(index, threads=1, inputs=tmp_path / "inputs", max_inputs=10**9, on_change=lambda: None)
        for index in range(torch.cuda.device_count() + 1)
    ]
    running = [asyncio.create_task(trainer.run()) for trainer in trainers]
    try:
        await eventually(lambda: all(trainer.free for trainer in trainers), "warm trainers", 120)
        assert {trainer.info.device for trainer in trainers if trainer.info} == {"cuda"}
        spec = TaskSpec(initialize=InitializeSpec(model=model_of("noop", params=16)))
        for trainer in trainers:
            out = tmp_path / str(trainer.index)
            out.mkdir()
            await trainer.execute(spec, {}, out, on_progress=lambda step: None, on_output=lambda output: None)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
