"""What a worker declares, uploads and hands in, and what of it counts."""

import dataclasses
import json
import math

import pytest

from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import declaration, safetensors
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import TaskKind
from trainnet.coordinator.domain.text import MAX_METRICS
from trainnet.coordinator.storage.schema import attempts, tasks, updates, uploads
from trainnet.coordinator.usecases.results import STALE, Answer, Results
from trainnet.coordinator.usecases.uploads import Uploads
from trainnet.v1 import artifact_pb2, dataset_pb2, task_pb2, worker_pb2

OTHER = safetensors([9.0])


async def test_the_first_declaration_stands(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    again = await scene.upload(worker, fence)
    assert again.outcome == worker_pb2.OUTCOME_UNSPECIFIED
    other = await scene.upload(worker, fence, data=OTHER)
    assert other.outcome == worker_pb2.OUTCOME_DIGEST_MISMATCH
    assert len(await scene.rows(uploads, fence=fence)) == 1


async def test_only_outputs_of_the_task_are_granted(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    answer = await scene.upload(worker, fence, output="base")
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, "a task TRAIN has no output base")


async def test_an_update_much_larger_than_its_base_is_not_granted(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    huge = artifact_pb2.UploadDeclaration(size_bytes=2_000_000, part_sha256=[bytes(32)])
    request = worker_pb2.UploadRequest(fence=fence, output="update", declaration=huge)
    answer = await scene.results.grant(worker, request, "nonce")
    assert isinstance(answer, Answer)
    assert answer.outcome == worker_pb2.OUTCOME_INVALID
    assert answer.message.startswith("2000000 bytes are no update of")
    assert await scene.rows(uploads, fence=fence) == []
    assert (await scene.upload(worker, fence)).outcome == worker_pb2.OUTCOME_UNSPECIFIED


class _Deleting(Uploads):
    """While an upload begins, somebody deletes its job."""

    def __init__(self, scene: Scene, job: str) -> None:
        super().__init__(scene.store, 60.0)
        self._jobs, self._name = scene.jobs, names.job(job)

    async def begin(self, key: str, part_size: int) -> str | None:
        begun = await super().begin(key, part_size)
        await self._jobs.cancel(self._name)
        await self._jobs.delete(self._name)
        return begun


async def test_nothing_is_granted_to_a_job_that_is_deleted_meanwhile(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job()
    fence = await scene.lease(worker)
    context = dataclasses.replace(scene.context, uploads=_Deleting(scene, job))
    parts = artifact_pb2.UploadDeclaration(size_bytes=65 << 20, part_sha256=[bytes(32)] * 2)
    request = worker_pb2.UploadRequest(fence=fence, output="base", declaration=parts)
    answer = await Results(context, scene.datasets, scene.jobs).grant(worker, request, "nonce")
    assert answer == STALE
    assert list(scene.store.list_uploads(f"jobs/{job}/")) == []


async def test_a_strangers_words_are_kept_only_as_far_as_they_mean_something(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    schema = dataset_pb2.DataSchema(label="y" * 10_000)
    metrics = {"loss": math.nan, "train_s": 2.0, **{f"x{index}": 1.0 for index in range(1000)}}
    await scene.complete(worker, fence, metrics=metrics, inspect=task_pb2.InspectResult(schema=schema))
    kept = json.loads((await scene.row(updates, fence=fence)).metrics)
    assert len(kept) == MAX_METRICS
    assert "loss" not in kept
    assert len((await scene.row(attempts, fence=fence)).result) < 1000
    assert (await scene.complete(worker, fence)).outcome == worker_pb2.OUTCOME_RECEIVED


async def test_a_result_twice_is_one_update(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    first = await scene.complete(worker, fence)
    assert await scene.complete(worker, fence) == first
    assert len(await scene.rows(updates)) == 1
    assert len(await scene.rows(tasks, kind=TaskKind.CHECK)) == 1
    other = await scene.complete(worker, fence, data=OTHER)
    assert other.outcome == worker_pb2.OUTCOME_DIGEST_MISMATCH
    await scene.check()
    accepted = await scene.complete(worker, fence)
    assert accepted.outcome == worker_pb2.OUTCOME_ACCEPTED


@pytest.mark.parametrize(
    ("output", "data", "outcome", "message"),
    [
        ("update", OTHER, worker_pb2.OUTCOME_DIGEST_MISMATCH, "update was granted with sha256:"),
        ("base", OTHER, worker_pb2.OUTCOME_INVALID, "a task TRAIN hands in update"),
    ],
)
async def test_a_result_must_be_what_was_granted(
    scene: Scene, output: str, data: bytes, outcome: worker_pb2.Outcome, message: str
) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    fence = await scene.lease(worker)
    await scene.upload(worker, fence)
    answer = await scene.complete(worker, fence, output, data)
    assert answer.outcome == outcome
    assert answer.message.startswith(message)
    assert await scene.rows(updates) == []


async def test_a_result_that_was_never_granted_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.training(worker)
    answer = await scene.complete(worker, await scene.lease(worker))
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, "update was never granted")


async def test_weights_that_are_not_stored_do_not_count(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.job()
    fence = await scene.lease(worker)
    request = worker_pb2.UploadRequest(fence=fence, output="base", declaration=declaration(OTHER))
    await scene.results.grant(worker, request, "nonce")
    answer = await scene.complete(worker, fence, "base", OTHER)
    assert answer.outcome == worker_pb2.OUTCOME_INVALID
    assert answer.message == "base is not stored whole: upload what is left"
