"""The whole agent with a real trainer process, against a protocol peer and a small HTTP store."""
# ruff: noqa: ASYNC240  # tests may block

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainnet.v1.dataset_pb2 import DATASET_FORMAT_CSV, ShardPlan
from trainnet.v1.task_pb2 import (
    TASK_KIND_INITIALIZE,
    TASK_KIND_INSPECT,
    TASK_KIND_PREPARE,
    TASK_KIND_TRAIN,
    InitializeSpec,
    InspectSpec,
    PrepareSpec,
    TaskSpec,
    TrainSpec,
)
from trainnet.v1.worker_pb2 import (
    FAIL_REASON_RELEASED,
    FAIL_REASON_TASK,
    FAIL_REASON_WORKER,
    OUTCOME_ACCEPTED,
    OUTCOME_STALE_FENCE,
    Cancel,
    Result,
)
from trainnet.worker.agent import control
from trainnet.worker.app import serve
from trainnet.worker.errors import AlreadyRunning, JoinRefused
from trainnet.worker.settings import WorkerSettings


class Agent:
    """A running agent and the ways to stop it."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(serve(settings, self.stop))

    async def end(self) -> None:
        self.stop.set()
        await self.task

    async def ask(self, command: str) -> dict[str, Any]:
        return await asyncio.to_thread(control.ask, self.settings.data_dir, command)

    async def is_warm(self) -> bool:
        return bool((await self.ask("status"))["warm_slots"])


Start = Callable[..., Awaitable[Agent]]


@pytest.fixture
async def start(peer: Any, tmp_path: Path, eventually: Any) -> AsyncIterator[Start]:
    agents = []

    async def start_agent(**changes: Any) -> Agent:
        given = {
            "coordinator": peer.address,
            "join_token": "join-token",
            "name": "test machine",
            "data_dir": tmp_path / "worker",
            "threads": 1,
            "ready_file": tmp_path / "ready",
            "grace": 0.1,
        }
        agent = Agent(WorkerSettings.load(**{**given, **changes}))
        agents.append(agent)
        await eventually(lambda: (tmp_path / "ready").exists() or agent.task.done(), "welcome")
        return agent

    yield start_agent
    for agent in agents:
        agent.stop.set()
        await asyncio.gather(agent.task, return_exceptions=True)


@pytest.fixture
def noop(peer: Any, store: Any, tasks: Any, model_of: Any) -> Callable[..., None]:
    def give(*fences: int, params: int = 1024) -> None:
        model = model_of("noop", params=params)
        _, outputs = tasks.run(TaskSpec(initialize=InitializeSpec(model=model)))
        base = store.artifact("base", outputs["base"].path.read_bytes())
        for fence in fences:
            peer.give_noop(fence, model, base)

    return give


@pytest.fixture
def endless(peer: Any, store: Any, tasks: Any, model_of: Any, iris_csv: Path) -> Callable[..., None]:
    def give(fence: int, epochs: int = 10_000_000) -> None:
        schema, _, shards = tasks.prepare(iris_csv, shards=1)
        model = model_of("mlp", schema)
        _, outputs = tasks.run(TaskSpec(initialize=InitializeSpec(model=model)))
        spec = TrainSpec(
            model=model,
            base=store.artifact("base", outputs["base"].path.read_bytes()),
            shard=store.artifact("shard", shards["shard-0"].path.read_bytes()),
            epochs=epochs,
            round=1,
        )
        peer.give(fence, TASK_KIND_TRAIN, train=spec)

    return give


def in_training(peer: Any) -> bool:
    return any(progress.step >= 1 for progress in peer.of("progress"))


async def test_join_work_and_leave(
    start: Start, peer: Any, store: Any, noop: Any, eventually: Any, tmp_path: Path
) -> None:
    noop(1, 2, 3)
    agent = await start()
    await eventually(lambda: len(peer.results) == 3, seconds=60)
    assert peer.registered[0].join_token == "join-token"
    assert len(peer.registered[0].request_id) >= 16
    hello = peer.hellos[0]
    assert hello.worker == "workers/w1"
    assert hello.capabilities.slots == 1
    assert set(hello.capabilities.architectures) >= {"mlp", "cnn", "noop"}
    for fence in (1, 2, 3):
        (output,) = peer.results[fence].outputs
        assert output.output == "update"
        assert len(store.objects[f"uploads/{fence}/update"]) > 4096
    # The base was downloaded once, and one slot never held two tasks.
    assert [key for method, key, _ in store.requests if method == "GET"] == ["base"]
    assert max(len(heartbeat.held) for heartbeat in peer.of("heartbeat")) <= 1

    identity = tmp_path / "worker" / "worker.json"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "worker" / "agent.sock").stat().st_mode) == 0o600
    await peer.say(result=Result(fence=2, outcome=OUTCOME_ACCEPTED))
    await peer.say(result=Result(fence=2, outcome=OUTCOME_ACCEPTED))
    while (status := await agent.ask("status"))["accepted_updates"] != 1:
        pass
    assert status["connected"] is True
    assert status["tasks"] == []
    assert not list((tmp_path / "worker" / "work" / "0").iterdir())

    await agent.ask("leave")
    await agent.task
    assert not identity.exists()
    assert not (tmp_path / "worker" / "cache").exists()


async def test_prepared_inputs_count_and_go_with_the_worker(
    start: Start, peer: Any, endless: Callable[..., None], eventually: Any, tmp_path: Path
) -> None:
    endless(1, epochs=1)
    agent = await start(max_disk="4MB")
    await eventually(lambda: 1 in peer.results, "result", 60)
    inputs = tmp_path / "worker" / "inputs"
    assert len(list(inputs.glob("*/features.bin"))) == 1
    status = await agent.ask("status")
    downloads = sum(path.stat().st_size for path in (tmp_path / "worker" / "cache").iterdir())
    assert status["cache_bytes"] >= downloads + sum(path.stat().st_size for path in inputs.glob("*/*"))
    await agent.ask("leave")
    await agent.task
    assert not inputs.exists()


async def test_a_task_that_takes_more_memory_than_the_owner_allows(
    start: Start, peer: Any, noop: Any, model_of: Any, tasks: Any, iris_csv: Path, eventually: Any
) -> None:
    model = model_of("mlp", tasks.inspect(iris_csv), hidden=[20_000, 20_000])  # 1.6 GB of weights
    peer.give(1, TASK_KIND_INITIALIZE, initialize=InitializeSpec(model=model))
    agent = await start(max_memory="1GB")
    assert peer.hellos[0].capabilities.memory_bytes == 10**9
    await eventually(lambda: 1 in peer.failures, "failure", 60)
    failure = peer.failures[1]
    assert failure.reason == FAIL_REASON_WORKER
    assert "more than the 1.00 GB that --max-memory leaves each slot of this worker; raise it" in failure.message
    # The process was replaced, and does what fits.
    noop(2)
    await eventually(lambda: 2 in peer.results, "result", 60)
    assert await agent.is_warm()


async def test_a_second_start_is_the_same_worker(start: Start, peer: Any, eventually: Any, tmp_path: Path) -> None:
    agent = await start()
    with pytest.raises(AlreadyRunning):
        await serve(agent.settings, asyncio.Event())
    await agent.end()
    await start(join_token=None)
    await eventually(lambda: len(peer.hellos) == 2)
    assert len(peer.registered) == 1
    assert peer.hellos[0].incarnation != peer.hellos[1].incarnation


async def test_a_void_token_is_exchanged_and_a_wrong_one_refused(
    start: Start, peer: Any, eventually: Any, tmp_path: Path
) -> None:
    agent = await start()
    await agent.end()
    peer.valid_token = "rotated"
    again = await start()
    await eventually(lambda: len(peer.hellos) == 2)
    assert len({request.request_id for request in peer.registered}) == 1
    await again.end()
    peer.refuse_token, peer.valid_token = True, "rotated again"
    refused = await start()
    with pytest.raises(JoinRefused, match="unknown join token"):
        await refused.task


async def test_a_coordinator_that_restarts_finds_the_lease_where_it_was(
    start: Start, peer: Any, endless: Any, eventually: Any
) -> None:
    endless(5)
    await start()
    await eventually(lambda: in_training(peer), seconds=60)
    before = len(peer.received)
    await peer.stop()
    await peer.start()
    await eventually(lambda: len(peer.hellos) == 2)
    assert [held.fence for held in peer.hellos[1].state.held] == [5]
    await eventually(lambda: any(m.WhichOneof("message") == "progress" for m in peer.received[before:]))
    assert len(peer.of("accept")) == 1
    # Gone from the desired state: dropped without a word, and the slot takes the next task.
    peer.leases.remove(5)
    await eventually(lambda: peer.of("heartbeat")[-1].held == [])
    assert not peer.failures
    assert not peer.results


@pytest.mark.parametrize("way", ["cancel", "stale"])
async def test_lost_work_is_dropped_at_once_and_the_slot_goes_on(
    start: Start, peer: Any, endless: Any, noop: Any, eventually: Any, way: str, tmp_path: Path
) -> None:
    endless(5)
    await start()
    await eventually(lambda: in_training(peer), seconds=60)
    left = tmp_path / "worker" / "work" / "0" / "scratch"
    left.mkdir()
    (left / "file").touch()
    peer.leases.remove(5)
    if way == "cancel":
        await peer.say(cancel=Cancel(fence=5, reason="job cancelled"))
    else:
        await peer.say(result=Result(fence=5, outcome=OUTCOME_STALE_FENCE))
    noop(6)
    await eventually(lambda: 6 in peer.results, seconds=60)
    assert set(peer.results) == {6}
    assert not peer.failures
    assert not list((tmp_path / "worker" / "work" / "0").iterdir())


def trainer_processes() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
            if "trainnet.worker.trainer" in child.cmdline():
                found.append(child)
    return found


async def test_a_stop_hands_the_task_back(start: Start, peer: Any, endless: Any, eventually: Any) -> None:
    endless(5)
    agent = await start()
    await eventually(lambda: in_training(peer), seconds=60)
    trainers = trainer_processes()
    assert trainers
    await agent.end()
    assert peer.failures[5].reason == FAIL_REASON_RELEASED
    assert peer.of("heartbeat")[-1].paused
    assert not any(trainer.is_running() for trainer in trainers)
    assert not (agent.settings.data_dir / "agent.sock").exists()


async def test_a_stop_finishes_what_it_can(start: Start, peer: Any, noop: Any, eventually: Any) -> None:
    noop(5, params=10_000_000)
    agent = await start(grace=30)
    await eventually(lambda: peer.of("accept"), seconds=60)
    await agent.end()
    assert set(peer.results) == {5}
    assert not peer.failures


async def test_pause_and_resume_outlast_a_restart(
    start: Start, peer: Any, noop: Any, eventually: Any, tmp_path: Path
) -> None:
    agent = await start()
    assert (await agent.ask("pause"))["paused"] is True
    await eventually(lambda: peer.of("heartbeat") and peer.of("heartbeat")[-1].paused)
    while not await agent.is_warm():
        pass
    noop(5)
    # Offered all the same, it is handed back and not accepted.
    await eventually(lambda: 5 in peer.failures)
    assert peer.failures[5].reason == FAIL_REASON_RELEASED
    assert not peer.of("accept")
    await agent.end()
    assert json.loads((tmp_path / "worker" / "worker.json").read_text())["paused"] is True
    again = await start()
    await eventually(lambda: len(peer.hellos) == 2)
    assert peer.hellos[1].state.paused
    peer.assigned.clear()
    await again.ask("resume")
    noop(6)
    await eventually(lambda: 6 in peer.results, seconds=60)


async def test_failures_say_whose_fault_it_is(
    start: Start, peer: Any, store: Any, endless: Any, eventually: Any
) -> None:
    source = store.artifact("bad.csv", b"a,label\n1,x\n2,x\n")
    peer.give(7, TASK_KIND_INSPECT, inspect=InspectSpec(source=source, format=DATASET_FORMAT_CSV))
    await start()
    await eventually(lambda: 7 in peer.failures, seconds=60)
    assert peer.failures[7].reason == FAIL_REASON_TASK
    assert "one class only" in peer.failures[7].message
    endless(8)
    await eventually(lambda: in_training(peer), seconds=60)
    (trainer,) = trainer_processes()
    os.kill(trainer.pid, signal.SIGKILL)
    await eventually(lambda: 8 in peer.failures)
    assert peer.failures[8].reason == FAIL_REASON_WORKER
    assert "the training process died" in peer.failures[8].message


async def test_preparation_uploads_every_shard(
    start: Start, peer: Any, store: Any, tasks: Any, iris_csv: Path, eventually: Any
) -> None:
    plan = ShardPlan(shards=6, holdout_fraction=0.2, seed=1)
    spec = PrepareSpec(
        source=store.artifact("iris.csv", iris_csv.read_bytes()),
        format=DATASET_FORMAT_CSV,
        schema=tasks.inspect(iris_csv),
        plan=plan,
    )
    peer.give(3, TASK_KIND_PREPARE, prepare=spec)
    store.faults = ["truncate", "", "", "503"]
    await start()
    await eventually(lambda: 3 in peer.results, seconds=60)
    result = peer.results[3]
    assert list(result.prepare.shard_rows) == [20] * 6
    assert sorted(output.output for output in result.outputs) == ["holdout", *(f"shard-{index}" for index in range(6))]
    _, _, expected = tasks.prepare(iris_csv, shards=6)
    for output in result.outputs:
        assert store.objects[f"uploads/3/{output.output}"] == expected[output.output].path.read_bytes()
