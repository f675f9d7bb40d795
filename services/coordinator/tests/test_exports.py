"""The folder that an owner downloads: made, served, failed, deleted; and what there is before."""

import asyncio
import json

import grpc
import pytest

from services.coordinator.tests.data import SCHEMA, TABLE, request
from services.coordinator.tests.peers import ScriptedWorker
from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import Scene, keys
from services.coordinator.tests.support import PATIENCE, noop_spec, refused, store_part
from services.coordinator.tests.training import (
    FOLDER,
    WEIGHTS,
    created,
    evaluated,
    hand_in,
    initialized,
    prepared,
    succeeded,
    took,
)
from trainnet.coordinator.domain.states import TaskKind
from trainnet.coordinator.sessions import Sessions
from trainnet.coordinator.storage.schema import model_files, rounds, tasks
from trainnet.coordinator.watching import Stopping, Watching
from trainnet.runtime import digest
from trainnet.v1 import dataset_pb2, job_pb2, task_pb2, worker_pb2


async def exported(scene: Scene, worker: str) -> tuple[int, task_pb2.ExportSpec]:
    """(fence, spec) of an export that was handed in."""
    kind, fence, told = await took(scene, worker)
    assert kind == TaskKind.EXPORT
    assert (await hand_in(scene, worker, fence, FOLDER)).outcome == worker_pb2.OUTCOME_RECEIVED
    return fence, told.export


def paths(answer: job_pb2.GetModelResponse) -> list[str]:
    return [item.path for item in answer.files]


# --- made ---


async def test_a_job_that_succeeded_gets_its_folder(scene: Scene) -> None:
    worker = await scene.worker()
    job = await succeeded(scene, worker)
    before, coming = await scene.files.get(f"jobs/{job}", 0)
    assert (before.exported, coming, (await scene.view(job)).exported) == (False, True, False)
    assert paths(before) == ["model.safetensors", "config.json", "README.md"]
    fence, _ = await exported(scene, worker)
    after, coming = await scene.files.get(f"jobs/{job}", 0)
    assert (after.exported, coming, (await scene.view(job)).exported) == (True, False, True)
    assert paths(after) == ["README.md", "model.safetensors", "plots/loss.png"]
    for item in after.files:
        assert item.artifact.key == f"jobs/{job}/model/{fence}/{item.path}"
        assert item.artifact.download.url
        assert item.artifact.digest == f"sha256:{item.sha256}"
    assert [row.path for row in await scene.rows(model_files, job=job)] == paths(after)
    await scene.jobs.delete(f"jobs/{job}")
    assert (await scene.rows(model_files), keys(scene.store, [f"jobs/{job}/"])) == ([], [])


async def test_the_exporter_is_told_all_that_a_card_says(scene: Scene) -> None:
    worker = await scene.worker()
    job = await created(scene, worker, rounds=2, display_name="flowers", base=None)
    await prepared(scene, worker)
    await initialized(scene, worker, bundle=b"zip")
    for _ in range(2):
        await scene.whole_round(worker)
    confusion = task_pb2.Confusion(classes=["x", "y"], counts=[3, 1, 0, 6])
    for accuracy in (0.5, 0.75):
        await evaluated(
            scene,
            worker,
            metrics={"accuracy": accuracy, "loss": 1.0},
            evaluate=task_pb2.EvaluateResult(confusion=confusion),
        )
    view = await scene.view(job)
    _, told = await exported(scene, worker)
    assert told.model.architecture == "mlp"
    assert told.model.schema == SCHEMA
    assert (told.round, told.display_name, told.dataset_name) == (2, "flowers", "table")
    assert told.weights.digest == view.rounds[-1].merged.digest
    assert told.weights.download.url
    assert told.parts.bundle.size_bytes == 3
    assert (list(told.shard_rows), told.holdout_rows, told.plan.shards) == ([90], 10, 1)
    assert [(item.number, item.metrics["accuracy"]) for item in told.rounds] == [(1, 0.5), (2, 0.75)]
    assert [item.merged_sha256 for item in told.rounds] == [item.merged_sha256 for item in view.rounds]
    (update,) = told.rounds[1].updates
    (entry,) = view.rounds[1].manifest
    assert (update.shard, update.worker, update.digest, update.examples) == (0, entry.worker, entry.update.digest, 90)
    assert told.confusion == confusion
    assert (told.epochs, told.local_steps) == (1, 0)
    assert not told.HasField("base")
    assert told.initial_digest == view.rounds[0].base.digest


async def test_a_cancelled_job_gets_the_folder_of_what_it_has(scene: Scene) -> None:
    worker = await scene.worker()
    job = await created(scene, worker, rounds=3)
    await prepared(scene, worker)
    await initialized(scene, worker)
    await scene.whole_round(worker)
    await scene.jobs.cancel(f"jobs/{job}")
    _, told = await exported(scene, worker)
    assert told.round == 1
    assert (await scene.files.get(f"jobs/{job}", 0))[0].exported
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_CANCELLED


async def test_a_job_cancelled_before_its_first_round_has_nothing_to_make(scene: Scene) -> None:
    worker = await scene.worker()
    job = await created(scene, worker)
    await prepared(scene, worker)
    await initialized(scene, worker)
    await scene.jobs.cancel(f"jobs/{job}")
    assert await scene.rows(tasks, kind=TaskKind.EXPORT) == []


async def test_a_job_without_data_has_nothing_to_make(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    await scene.whole_round(worker)
    assert await scene.rows(tasks, kind=TaskKind.EXPORT) == []
    answer, coming = await scene.files.get(f"jobs/{job}", 0)
    assert (answer.exported, coming, (await scene.view(job)).exported) == (False, False, False)


async def test_other_rounds_come_as_plain_files(scene: Scene) -> None:
    worker = await scene.worker()
    job = await succeeded(scene, worker, rounds=2)
    await exported(scene, worker)
    first, coming = await scene.files.get(f"jobs/{job}", 1)
    assert (first.round, first.exported, coming) == (1, False, False)
    assert paths(first) == ["model.safetensors", "config.json", "README.md"]
    assert (await scene.files.get(f"jobs/{job}", 2))[0].exported


async def test_an_adapter_comes_apart_from_its_base(scene: Scene) -> None:
    worker = await scene.worker()
    job = await succeeded(scene, worker, parts={"bundle": b"zip", "frozen": b"whole"})
    answer, _ = await scene.files.get(f"jobs/{job}", 0)
    assert paths(answer) == ["model.safetensors", "adapter.safetensors", "bundle.zip", "README.md"]
    whole, adapter, bundle, _ = answer.files
    assert (whole.artifact.size_bytes, bundle.artifact.size_bytes) == (5, 3)
    assert adapter.sha256 == (await scene.view(job)).rounds[-1].merged_sha256


# --- who may, and how often ---


async def test_only_trusted_workers_export(scene: Scene) -> None:
    worker = await scene.worker()
    await succeeded(scene, worker, pool=job_pb2.POOL_PUBLIC)
    (row,) = await scene.rows(tasks, kind=TaskKind.EXPORT)
    assert (row.pool, row.architecture) == ("TRUSTED", "mlp")


@pytest.mark.parametrize("output", ["model/../x", "model/", "base", "model/.ssh/id", "model/a//b"])
async def test_a_file_outside_of_the_folder_is_not_granted(scene: Scene, output: str) -> None:
    worker = await scene.worker()
    await succeeded(scene, worker)
    _, fence, _ = await took(scene, worker)
    answer = await scene.upload(worker, fence, output)
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, f"a task EXPORT has no output {output}")


async def test_a_folder_without_files_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    await succeeded(scene, worker)
    _, fence, _ = await took(scene, worker)
    answer = await hand_in(scene, worker, fence, {})
    assert answer.message == "a model's folder has 1 to 64 files, not 0"


async def test_an_export_twice_is_one_folder_and_a_stale_one_none(scene: Scene) -> None:
    worker, other = await scene.worker(), await scene.worker("bob")
    job = await succeeded(scene, worker)
    _, slow, _ = await took(scene, worker)
    await scene.upload(worker, slow, "model/README.md", b"slow")
    await scene.leases.expire(slow, leased=True)
    scene.now += 1
    fence, _ = await exported(scene, other)
    again = task_pb2.TaskResult()
    for output, data in FOLDER.items():
        again.outputs.add(output=output, digest=digest.of_bytes(data))
    assert (await scene.results.complete(other, fence, again)).outcome == worker_pb2.OUTCOME_RECEIVED
    assert (await hand_in(scene, worker, slow, {})).outcome == worker_pb2.OUTCOME_STALE_FENCE
    files = await scene.rows(model_files, job=job)
    assert {row.object_key.split("/")[3] for row in files} == {str(fence)}


async def test_a_folder_that_cannot_be_made_leaves_the_job_as_it_ended(scene: Scene) -> None:
    worker = await scene.worker()
    job = await succeeded(scene, worker)
    _, fence, _ = await took(scene, worker)
    await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_TASK, "matplotlib is missing")
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_SUCCEEDED
    assert view.state_message.startswith("its model's folder could not be made: failed by ada")
    assert "matplotlib is missing" in view.state_message
    answer, coming = await scene.files.get(f"jobs/{job}", 0)
    assert (answer.exported, coming) == (False, False)
    assert paths(answer) == ["model.safetensors", "config.json", "README.md"]


async def test_another_worker_tries_what_one_failed(scene: Scene) -> None:
    ada, bob = await scene.worker("ada"), await scene.worker("bob")
    job = await succeeded(scene, ada)
    _, fence, _ = await took(scene, ada)
    await scene.leases.fail(ada, fence, worker_pb2.FAIL_REASON_TASK, "no memory")
    await exported(scene, bob)
    view = await scene.view(job)
    assert (view.exported, view.state_message) == (True, "")


async def test_a_job_deleted_in_its_export_calls_the_worker_back(scene: Scene) -> None:
    worker = await scene.worker()
    job = await succeeded(scene, worker)
    _, fence, _ = await took(scene, worker)
    await scene.jobs.delete(f"jobs/{job}")
    assert (worker, fence, "the job ended") in [item for effects in scene.told for item in effects.cancelled]
    assert (await hand_in(scene, worker, fence, {})).outcome == worker_pb2.OUTCOME_STALE_FENCE


# --- confusion matrices ---


@pytest.mark.parametrize(
    "confusion",
    [
        task_pb2.Confusion(classes=["x"], counts=[1, 2]),
        task_pb2.Confusion(classes=["x"], counts=[-1]),
        task_pb2.Confusion(classes=[str(index) for index in range(101)], counts=[0] * 101**2),
        task_pb2.Confusion(),
    ],
)
async def test_what_is_no_confusion_matrix_is_left_out(scene: Scene, confusion: task_pb2.Confusion) -> None:
    worker = await scene.worker()
    await created(scene, worker)
    await prepared(scene, worker)
    await initialized(scene, worker)
    await scene.whole_round(worker)
    await evaluated(scene, worker, evaluate=task_pb2.EvaluateResult(confusion=confusion))
    (row,) = await scene.rows(rounds)
    assert row.confusion is None
    assert json.loads(row.metrics) == {"accuracy": 0.5}


async def test_confusion_matrices_of_the_newest_rounds_are_kept(scene: Scene) -> None:
    worker = await scene.worker()
    await created(scene, worker, rounds=5)
    await prepared(scene, worker)
    await initialized(scene, worker)
    for _ in range(5):
        await scene.whole_round(worker)
    confusion = task_pb2.Confusion(classes=["x"], counts=[1])
    for _ in range(5):
        await evaluated(scene, worker, evaluate=task_pb2.EvaluateResult(confusion=confusion))
    kept = [row.number for row in await scene.rows(rounds) if row.confusion is not None]
    assert sorted(kept) == [3, 4, 5]


# --- waiting, over the wire ---


async def _dataset(coordinator: Coordinator, worker: ScriptedWorker) -> str:
    """A data set that is ready."""
    answer = await coordinator.datasets.CreateDataset(request())
    await store_part(answer.grant, TABLE)
    await coordinator.datasets.CompleteDataset(dataset_pb2.CompleteDatasetRequest(name=answer.dataset.name))
    lease = await worker.take_kind(task_pb2.TASK_KIND_INSPECT)
    await worker.complete(lease.fence, inspect=task_pb2.InspectResult(schema=SCHEMA))
    name: str = answer.dataset.name
    return name


async def test_a_download_waits_for_the_folder(coordinator: Coordinator) -> None:
    worker = await coordinator.worker()
    name = await _dataset(coordinator, worker)
    plan = dataset_pb2.ShardPlan(shards=1)
    spec = job_pb2.JobSpec(architecture="mlp", dataset=name, rounds=1, plan=plan)
    job = await coordinator.create(spec)
    assert job.spec.epochs == 1
    for _ in range(2):
        lease = await worker.take()
        if lease.kind == task_pb2.TASK_KIND_INITIALIZE:
            await worker.hand_in(lease)
        else:
            await worker.upload(lease.fence, "shard-0", WEIGHTS)
            rows = task_pb2.PrepareResult(shard_rows=[100])
            await worker.complete(lease.fence, {"shard-0": WEIGHTS}, prepare=rows)
    await worker.hand_in(await worker.take_kind(task_pb2.TASK_KIND_TRAIN))
    await coordinator.aggregator.check()
    await coordinator.aggregator.merge()
    await coordinator.job_in(job.name, "SUCCEEDED")
    at_once = await coordinator.jobs.GetModel(job_pb2.GetModelRequest(name=job.name))
    assert not at_once.exported
    lease = await worker.take_kind(task_pb2.TASK_KIND_EXPORT)
    wanted = job_pb2.GetModelRequest(name=job.name, wait_seconds=int(PATIENCE))
    waiting = asyncio.ensure_future(coordinator.jobs.GetModel(wanted))
    for output, data in FOLDER.items():
        await worker.upload(lease.fence, output, data)
    assert not waiting.done()
    await worker.complete(lease.fence, FOLDER)
    answer = await asyncio.wait_for(waiting, PATIENCE)
    assert answer.exported
    assert paths(answer) == ["README.md", "model.safetensors", "plots/loss.png"]
    assert (await coordinator.job(job.name)).exported


async def test_who_waits_is_not_told_that_nothing_comes_when_the_coordinator_stops(scene: Scene) -> None:
    watching = Watching(scene.jobs, scene.leases, Sessions())
    looked = asyncio.Event()

    async def look() -> tuple[str, bool]:
        looked.set()
        return "plain files", True

    waiting = asyncio.create_task(watching.settled("jobs/j", look, PATIENCE))
    await looked.wait()
    watching.stopping.set()
    with pytest.raises(Stopping):
        await asyncio.wait_for(waiting, PATIENCE)


async def test_nobody_waits_for_a_folder_that_will_not_come(coordinator: Coordinator) -> None:
    job = await coordinator.create(noop_spec(shards=1))
    wanted = job_pb2.GetModelRequest(name=job.name, wait_seconds=60)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_MODEL"):
        await coordinator.jobs.GetModel(wanted)
    worker = await coordinator.worker()
    await worker.hand_in(await worker.take())
    await worker.hand_in(await worker.take())
    await coordinator.aggregator.check()
    await coordinator.aggregator.merge()
    await coordinator.job_in(job.name, "SUCCEEDED")
    answer = await asyncio.wait_for(coordinator.jobs.GetModel(wanted), PATIENCE)
    assert not answer.exported
