"""What jobs start from."""

from typing import Any

import pytest

from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import declaration, noop_spec, store_part
from services.coordinator.tests.training import (
    TEXTS,
    created,
    evaluated,
    initialized,
    prepared,
    succeeded,
    took,
)
from trainnet.coordinator.domain.states import TaskKind
from trainnet.coordinator.storage.schema import jobs, rounds, tasks
from trainnet.coordinator.usecases.errors import Collected, InUse, ModelNotReady, NoModel, NoSuchResource
from trainnet.coordinator.usecases.jobs import completed
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import job_pb2, model_pb2, task_pb2, worker_pb2


async def uploaded_model(scene: Scene, *, complete: bool = True) -> str:
    data = b"weights"
    request = model_pb2.CreateModelRequest(
        request_id="m", display_name="mini", format=model_pb2.MODEL_FORMAT_FOLDER, declaration=declaration(data)
    )
    model, grant = await scene.models.create(request)
    assert grant is not None
    await store_part(grant, data)
    if complete:
        await scene.models.complete(model.name)
    return model.name


# --- scratch ---


async def test_a_job_from_scratch_is_told_nothing_of_a_base(scene: Scene) -> None:
    worker = await scene.worker()
    job = await created(scene, worker)
    await prepared(scene, worker)
    told = await initialized(scene, worker)
    assert not told.HasField("base")
    assert not told.HasField("base_weights")
    assert not told.HasField("sample")
    assert await scene.rows(tasks, job=job, kind=TaskKind.EVALUATE) == []
    view = await scene.view(job)
    assert (view.trainable_parameters, view.parameters) == (2, 5)
    assert (await scene.row(jobs, id=job)).base_revision == "abc"


async def test_weights_of_a_text_model_wait_for_the_sample_of_the_plan(scene: Scene) -> None:
    worker = await scene.worker()
    job = await created(scene, worker, TEXTS, architecture="gpt2")
    assert await scene.rows(tasks, job=job) == []
    await prepared(scene, worker, sample=True)
    told = await initialized(scene, worker)
    assert told.sample.download.url
    kind, _, train = await took(scene, worker)
    assert kind == TaskKind.TRAIN
    assert not train.train.HasField("parts")


async def test_a_second_job_on_the_same_plan_makes_its_weights_at_once(scene: Scene) -> None:
    worker = await scene.worker()
    job = await created(scene, worker, TEXTS, architecture="gpt2")
    await prepared(scene, worker, sample=True)
    await initialized(scene, worker)
    given = (await scene.view(job)).spec
    other = await scene.jobs.create("again", given)
    row = await scene.row(tasks, kind=TaskKind.INITIALIZE, job=other.name.split("/")[1])
    assert row.state == "READY"


# --- an earlier job ---


async def test_a_job_goes_on_from_another_ones_last_round(scene: Scene) -> None:
    worker = await scene.worker()
    base = await succeeded(scene, worker, parts={"bundle": b"zip", "frozen": b"whole"})
    export, _, _ = await took(scene, worker)
    assert export == TaskKind.EXPORT
    job = await created(scene, worker, base=task_pb2.BaseModel(job=f"jobs/{base}"))
    await prepared(scene, worker)
    told = await initialized(scene, worker, bundle=b"zip", frozen=b"whole")
    before = await scene.view(base)
    assert told.base.job == before.name
    assert told.base_weights.digest == before.rounds[-1].merged.digest
    assert told.base_spec.architecture == "mlp"
    assert told.base_parts.bundle.size_bytes == 3
    assert told.base_parts.frozen.download.url
    # Its first round trains beside the evaluation of what it started from.
    kind, _, train = await took(scene, worker)
    assert kind == TaskKind.TRAIN
    assert (train.train.parts.bundle.size_bytes, train.train.parts.frozen.size_bytes) == (3, 5)
    row = await scene.row(jobs, id=job)
    evaluation = await evaluated(scene, worker, metrics={"perplexity": 7.0})
    assert (evaluation.round, evaluation.weights.digest) == (0, row.base_digest)
    for name in ("bundle", "frozen"):  # each is signed anew
        assert getattr(evaluation.parts, name).digest == getattr(train.train.parts, name).digest
    view = await scene.view(job)
    assert dict(view.initial_metrics) == {"perplexity": 7.0}
    assert dict(view.metrics) == {}


async def test_a_job_ends_after_the_evaluation_of_its_base(scene: Scene) -> None:
    worker = await scene.worker()
    base = await succeeded(scene, worker)
    await took(scene, worker)
    job = await created(scene, worker, base=task_pb2.BaseModel(job=f"jobs/{base}"))
    await prepared(scene, worker)
    await initialized(scene, worker)
    await scene.whole_round(worker)
    await evaluated(scene, worker)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_RUNNING
    await evaluated(scene, worker)
    assert (await scene.view(job)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_the_weights_that_a_job_starts_from_are_kept_while_the_other_one_trains_on(scene: Scene) -> None:
    worker = await scene.worker()
    base = await created(scene, worker, rounds=6)
    await prepared(scene, worker)
    await initialized(scene, worker)
    await scene.whole_round(worker)
    job = await created(scene, worker, base=task_pb2.BaseModel(job=f"jobs/{base}"))
    first = (await scene.view(base)).rounds[0].merged
    async with scene.database.write() as tx:  # the new job waits for its plan, the base goes on
        waiting = (tasks.c.kind == "PREPARE") | (tasks.c.job == job)
        await tx.execute(tasks.update().where(waiting, tasks.c.state == "READY").values(state="CANCELLED"))
    for _ in range(5):
        await scene.whole_round(worker)
    async with scene.database.write() as tx:
        await tx.execute(tasks.update().where(tasks.c.kind == "EVALUATE").values(state="DONE"))
    while await scene.retention.collect():
        pass
    assert scene.store.stat(first.key).size == first.size_bytes
    await scene.jobs.cancel(f"jobs/{base}")
    with pytest.raises(InUse, match=f"jobs/{job} starts from jobs/{base}"):
        await scene.jobs.delete(f"jobs/{base}")
    await scene.jobs.cancel(f"jobs/{job}")
    while await scene.retention.collect():
        pass
    assert first.key not in {item.key for item in scene.store.list(f"jobs/{base}/")}
    await scene.jobs.delete(f"jobs/{base}")


async def test_the_parts_of_a_model_outlive_its_first_rounds(scene: Scene) -> None:
    worker = await scene.worker()
    job = await succeeded(scene, worker, rounds=4, parts={"bundle": b"zip"})
    while await scene.retention.collect():
        pass
    row = await scene.row(jobs, id=job)
    assert scene.store.stat(row.bundle_key).size == 3
    assert row.base_key not in {item.key for item in scene.store.list(f"jobs/{job}/")}


async def test_a_job_without_a_model_is_no_base(scene: Scene) -> None:
    worker = await scene.worker()
    base = await created(scene, worker)
    await prepared(scene, worker)
    await initialized(scene, worker)
    with pytest.raises(NoModel):
        await created(scene, worker, base=task_pb2.BaseModel(job=f"jobs/{base}"))
    with pytest.raises(NoSuchResource):
        await created(scene, worker, base=task_pb2.BaseModel(job="jobs/nobody"))


async def test_a_base_of_another_architecture_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    base = await succeeded(scene, worker)
    await took(scene, worker)
    with pytest.raises(InvalidArgument, match=f"jobs/{base} is a mlp, this job a gpt2") as raised:
        await created(scene, worker, TEXTS, architecture="gpt2", base=task_pb2.BaseModel(job=f"jobs/{base}"))
    assert raised.value.violations[0].field == "spec.base.job"


async def test_a_base_that_is_going_away_is_refused(scene: Scene) -> None:
    worker = await scene.worker()
    base = await succeeded(scene, worker)
    await took(scene, worker)
    async with scene.database.write() as tx:
        await tx.execute(rounds.update().values(collected=True))
    with pytest.raises(Collected):
        await created(scene, worker, base=task_pb2.BaseModel(job=f"jobs/{base}"))


# --- an uploaded model, the hub ---


async def test_a_job_starts_from_an_uploaded_model(scene: Scene) -> None:
    worker = await scene.worker()
    model = await uploaded_model(scene)
    job = await created(scene, worker, base=task_pb2.BaseModel(model=model))
    with pytest.raises(InUse, match=job):
        await scene.models.delete(model)
    await prepared(scene, worker)
    told = await initialized(scene, worker)
    assert (told.base.model, told.base_weights.size_bytes) == (model, 7)
    assert told.base_weights.download.url


async def test_an_uploaded_model_must_be_whole(scene: Scene) -> None:
    worker = await scene.worker()
    model = await uploaded_model(scene, complete=False)
    with pytest.raises(ModelNotReady, match="UPLOADING"):
        await created(scene, worker, base=task_pb2.BaseModel(model=model))
    with pytest.raises(NoSuchResource):
        await created(scene, worker, base=task_pb2.BaseModel(model="models/nothing"))


async def test_the_worker_says_what_is_wrong_with_a_hub_name(scene: Scene) -> None:
    worker = await scene.worker()
    hub = task_pb2.BaseModel(hub="somebody/tiny@main")
    job = await created(scene, worker, TEXTS, architecture="bert", base=hub)
    await prepared(scene, worker)
    kind, fence, told = await took(scene, worker)
    assert (kind, told.initialize.base) == (TaskKind.INITIALIZE, hub)
    await scene.leases.fail(worker, fence, worker_pb2.FAIL_REASON_TASK, "there is no network for the hub")
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert view.state_message == "making the initial weights: there is no network for the hub"


async def test_what_takes_no_base_says_so(scene: Scene) -> None:
    worker = await scene.worker()
    with pytest.raises(InvalidArgument, match="noop starts from scratch only"):
        await scene.jobs.create("r", noop_spec(base=task_pb2.BaseModel(hub="a/b")))
    with pytest.raises(InvalidArgument, match="the model hub has no models of mlp"):
        await created(scene, worker, base=task_pb2.BaseModel(hub="a/b"))


# --- epochs or steps ---


@pytest.mark.parametrize(
    ("given", "epochs", "steps"),
    [({}, 1, 0), ({"epochs": 3}, 3, 0), ({"local_steps": 7}, 0, 7)],
)
def test_a_round_is_epochs_or_steps(given: dict[str, Any], epochs: int, steps: int) -> None:
    spec = completed(job_pb2.JobSpec(architecture="noop", **given))
    assert (spec.epochs, spec.local_steps) == (epochs, steps)


def test_a_round_is_not_both() -> None:
    with pytest.raises(InvalidArgument, match="3 epochs or 7 local steps, not both") as raised:
        completed(job_pb2.JobSpec(architecture="noop", epochs=3, local_steps=7))
    assert raised.value.violations[0].field == "spec.local_steps"


async def test_the_worker_is_told_steps_and_rounds(scene: Scene) -> None:
    worker = await scene.worker()
    await created(scene, worker, rounds=4, epochs=0, local_steps=9)
    await prepared(scene, worker)
    await initialized(scene, worker)
    _, _, told = await took(scene, worker)
    assert (told.train.epochs, told.train.local_steps, told.train.rounds) == (0, 9, 4)
