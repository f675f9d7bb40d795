"""Real trainer processes: their protocol, and what happens when they are cancelled or die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from structlog.testing import capture_logs

from trainnet.v1.task_pb2 import InitializeSpec, TaskSpec, TrainSpec
from trainnet.worker.agent.trainers import TrainerProcess
from trainnet.worker.errors import TaskError
from trainnet.worker.protocol import OutputFile, Step


class Slot:
    def __init__(self, trainer: TrainerProcess, folder: Path) -> None:
        self.trainer, self.folder = trainer, folder
        self.steps: list[Step] = []
        self.outputs: list[OutputFile] = []

    async def execute(self, spec: TaskSpec, **inputs: Path) -> Any:
        return await self.trainer.execute(
            spec, inputs, self.folder, on_progress=self.steps.append, on_output=self.outputs.append
        )


@pytest.fixture
async def slot(tmp_path: Path, eventually: Any) -> AsyncIterator[Slot]:
    trainer = TrainerProcess(0, threads=1, inputs=tmp_path / "inputs", max_inputs=10**9, on_change=lambda: None)
    running = asyncio.create_task(trainer.run())
    await eventually(lambda: trainer.free, "warm trainer", 60)
    yield Slot(trainer, tmp_path)
    pid = trainer.pid
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert pid is None or not psutil.pid_exists(pid)


def noop(model_of: Any, params: int) -> TaskSpec:
    return TaskSpec(initialize=InitializeSpec(model=model_of("noop", params=params)))


def endless(model_of: Any, tasks: Any, path: Path) -> tuple[TaskSpec, dict[str, Path]]:
    schema, _, shards = tasks.prepare(path, shards=1)
    model = model_of("mlp", schema)
    _, outputs = tasks.run(TaskSpec(initialize=InitializeSpec(model=model)))
    spec = TaskSpec(train=TrainSpec(model=model, epochs=10_000_000))
    return spec, {"base": outputs["base"].path, "shard": shards["shard-0"].path}


async def test_a_machine_that_has_no_process_to_give_is_asked_again(
    tmp_path: Path, model_of: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "nothing"))
        trainer = TrainerProcess(0, threads=1, inputs=tmp_path / "inputs", max_inputs=10**9, on_change=lambda: None)
        running = asyncio.create_task(trainer.run())
        await eventually(lambda: any("could not be started" in str(entry) for entry in logs), "a start that failed")
    await eventually(lambda: trainer.free, "warm trainer", 60)
    await Slot(trainer, tmp_path).execute(noop(model_of, 1024))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_tasks_one_after_the_other(slot: Slot, model_of: Any) -> None:
    assert slot.trainer.info is not None
    assert slot.trainer.info.device in {"cpu", "cuda", "mps"}
    pid = slot.trainer.pid
    for _ in range(3):
        await slot.execute(noop(model_of, 1024))
    assert [output.output for output in slot.outputs] == ["base"] * 3
    assert slot.outputs[0].size == slot.outputs[0].path.stat().st_size
    with pytest.raises(TaskError, match="does not know the task"):
        await slot.execute(TaskSpec())
    await slot.execute(noop(model_of, 1024))
    assert slot.trainer.pid == pid, "warm, after a failure too"


async def test_a_cancelled_task_leaves_the_process_warm(
    slot: Slot, model_of: Any, tasks: Any, iris_csv: Path, eventually: Any
) -> None:
    spec, inputs = endless(model_of, tasks, iris_csv)
    pid = slot.trainer.pid
    running = asyncio.create_task(slot.execute(spec, **inputs))
    await eventually(lambda: any(step.step for step in slot.steps))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await eventually(lambda: slot.trainer.free)
    assert slot.trainer.pid == pid
    await slot.execute(noop(model_of, 1024))


async def test_a_process_that_does_not_hear_a_cancel_is_replaced(
    slot: Slot, model_of: Any, tasks: Any, iris_csv: Path, eventually: Any
) -> None:
    spec, inputs = endless(model_of, tasks, iris_csv)
    pid = slot.trainer.pid
    assert pid is not None
    running = asyncio.create_task(slot.execute(spec, **inputs))
    await eventually(lambda: any(step.step for step in slot.steps))
    os.kill(pid, signal.SIGSTOP)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await eventually(lambda: slot.trainer.free and slot.trainer.pid != pid, seconds=60)
    await slot.execute(noop(model_of, 1024))


async def test_a_killed_process_fails_its_task_and_comes_back(
    slot: Slot, model_of: Any, tasks: Any, iris_csv: Path, eventually: Any
) -> None:
    spec, inputs = endless(model_of, tasks, iris_csv)
    pid = slot.trainer.pid
    assert pid is not None
    running = asyncio.create_task(slot.execute(spec, **inputs))
    await eventually(lambda: any(step.step for step in slot.steps))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TaskError, match="the training process died \\(killed, perhaps") as caught:
        await running
    assert caught.value.reason == "WORKER"
    with pytest.raises(TaskError, match="is being restarted"):
        await slot.execute(noop(model_of, 1024))
    await eventually(lambda: slot.trainer.free, seconds=60)
    await slot.execute(noop(model_of, 1024))


def test_a_trainer_dies_with_its_agent(tmp_path: Path) -> None:
    agent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
            import asyncio
            import sys
            from pathlib import Path
            from trainnet.worker.agent.trainers import TrainerProcess

            async def main():
                trainer = TrainerProcess(
                    0,
                    threads=1,
                    inputs=Path(sys.argv[1]),
                    max_inputs=10**9,
                    on_change=lambda: print(trainer.pid, trainer.free, flush=True),
                )
                await trainer.run()

            asyncio.run(main())
            """),
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    pid, warm = agent.stdout.readline().split()
    assert warm == "True"
    trainer = psutil.Process(int(pid))
    agent.kill()
    agent.wait()
    agent.stdout.close()
    trainer.wait(5)
