"""Data sets read as their owners say, and read again."""

from typing import Any

import grpc
import pytest
from sqlalchemy import update

from services.coordinator.tests.data import SCHEMA, TABLE, cut, inspected, ready, request, spec, uploaded
from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import refused, store_part
from trainnet.coordinator.domain.readings import BadReading, check
from trainnet.coordinator.domain.states import TaskKind
from trainnet.coordinator.storage.schema import datasets, plans, tasks
from trainnet.coordinator.usecases.datasets import MAX_PROFILE_BYTES, MAX_SCHEMA_BYTES, PAGE_BYTES
from trainnet.coordinator.usecases.errors import DatasetNotReady, NoSuchResource, RequestIdReused, UploadIncomplete
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import dataset_pb2, job_pb2, task_pb2, worker_pb2

READY, PREPARING = dataset_pb2.DATASET_STATE_READY, dataset_pb2.DATASET_STATE_PREPARING
FAILED = dataset_pb2.DATASET_STATE_FAILED
READING = dataset_pb2.DatasetReading(
    label_column="b", column_kinds={"a": dataset_pb2.COLUMN_KIND_CATEGORICAL}, split_column="-"
)
PROFILE = dataset_pb2.DataProfile(columns=[dataset_pb2.ColumnProfile(name="label", distinct=2)], compared_rows=100)
COLUMNS = dataset_pb2.DataSchema(
    label="label",
    rows=100,
    classes=SCHEMA.classes,
    columns=[
        dataset_pb2.Column(name="a", kind=dataset_pb2.COLUMN_KIND_NUMERIC),
        dataset_pb2.Column(name="b", kind=dataset_pb2.COLUMN_KIND_NUMERIC),
    ],
)
BY_B = dataset_pb2.DataSchema(label="b", rows=100, classes=SCHEMA.classes, columns=COLUMNS.columns[:1])


async def to_inspect(scene: Scene, worker: str) -> task_pb2.InspectSpec:
    """What the worker of the next task is told."""
    row = await scene.leases.held(worker, await scene.lease(worker))
    assert row is not None
    return (await scene.leases.spec(row)).inspect


# --- declared ---


async def test_a_declared_reading_reaches_the_inspection(scene: Scene) -> None:
    worker = await scene.worker()
    dataset = await scene.datasets.get(await uploaded(scene, reading=READING))
    assert (dataset.reading, dataset.label_column) == (READING, "b")
    inspect = await to_inspect(scene, worker)
    assert (inspect.reading, inspect.label_column) == (READING, "b")


async def test_older_clients_name_the_label_alone(scene: Scene) -> None:
    dataset, _ = await scene.datasets.create(request("r", label_column="b"))
    assert dataset.reading == dataset_pb2.DatasetReading(label_column="b")
    again, _ = await scene.datasets.create(request("r", reading=dataset_pb2.DatasetReading(label_column="b")))
    assert again == dataset
    both, _ = await scene.datasets.create(request(label_column="a", reading=READING))
    assert both.label_column == "b"


async def test_a_request_id_is_for_one_reading_whatever_came_later(scene: Scene) -> None:
    worker = await scene.worker()
    given = request("r", reading=dataset_pb2.DatasetReading(label_column="a"))
    dataset, _ = await scene.datasets.create(given)
    with pytest.raises(RequestIdReused):
        await scene.datasets.create(request("r", reading=READING))
    scene.store.put(dataset.source.key, TABLE)
    await scene.datasets.complete(dataset.name)
    await inspected(scene, worker, COLUMNS)
    await scene.datasets.update(dataset.name, READING)
    again, grant = await scene.datasets.create(given)
    assert (again.name, again.reading, grant) == (dataset.name, READING, None)


# --- read again ---


async def test_a_data_set_is_read_again(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker, COLUMNS)
    again = await scene.datasets.update(name, READING)
    assert (again.state, again.reading, again.label_column) == (PREPARING, READING, "b")
    assert not again.HasField("schema")
    with pytest.raises(DatasetNotReady, match="wait until it is READY"):
        await scene.jobs.create("r", spec(name))
    assert (await inspected(scene, worker, BY_B, PROFILE)).outcome == worker_pb2.OUTCOME_RECEIVED
    read = await scene.datasets.get(name)
    assert (read.state, read.schema, read.profile, read.reading) == (READY, BY_B, PROFILE, READING)
    assert read.source == (await scene.datasets.get(name)).source


async def test_reading_it_the_same_way_changes_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker, COLUMNS, reading=READING)
    assert await scene.datasets.update(name, READING) == await scene.datasets.get(name)
    await scene.datasets.update(name, dataset_pb2.DatasetReading(label_column="a"))
    first = await scene.row(tasks, kind=TaskKind.INSPECT, state="READY")
    await scene.datasets.update(name, dataset_pb2.DatasetReading(label_column="a"))
    assert await scene.row(tasks, kind=TaskKind.INSPECT, state="READY") == first


async def test_a_newer_reading_calls_the_older_inspection_back(scene: Scene) -> None:
    worker, other = await scene.worker(), await scene.worker("bob")
    name = await uploaded(scene)
    fence = await scene.lease(worker)
    await scene.datasets.update(name, READING)
    cancelled = [item for effects in scene.told for item in effects.cancelled]
    assert (worker, fence, "the data set is read anew") in cancelled
    late = task_pb2.TaskResult(inspect=task_pb2.InspectResult(schema=COLUMNS))
    assert (await scene.results.complete(worker, fence, late)).outcome == worker_pb2.OUTCOME_STALE_FENCE
    assert (await inspected(scene, other, BY_B)).outcome == worker_pb2.OUTCOME_RECEIVED
    assert (await scene.datasets.get(name)).schema == BY_B


async def test_a_reading_that_fails_can_be_mended(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker, COLUMNS)
    await scene.datasets.update(name, READING)
    await scene.leases.fail(worker, await scene.lease(worker), worker_pb2.FAIL_REASON_TASK, "b has one value")
    failed = await scene.datasets.get(name)
    assert (failed.state, failed.state_message) == (FAILED, "b has one value")
    assert not failed.HasField("schema")
    with pytest.raises(DatasetNotReady, match="b has one value"):
        await scene.jobs.create("r", spec(name))
    again = await scene.datasets.update(name, READING)  # the same once more: a worker may have been at fault
    assert (again.state, again.state_message) == (PREPARING, "")
    await scene.leases.fail(worker, await scene.lease(worker), worker_pb2.FAIL_REASON_TASK, "b has one value")
    await scene.datasets.update(name, dataset_pb2.DatasetReading())
    await inspected(scene, worker, COLUMNS)
    mended = await scene.datasets.get(name)
    assert (mended.state, mended.state_message, mended.schema) == (READY, "", COLUMNS)


async def test_jobs_keep_what_they_began_with_and_new_ones_get_new_shards(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker, COLUMNS)
    before = await scene.jobs.create("r-1", spec(name))
    await scene.datasets.update(name, READING)
    old = await scene.leases.held(worker, await scene.lease(worker))
    assert old is not None
    assert old.kind == TaskKind.PREPARE
    assert (await scene.leases.spec(old)).prepare.schema == COLUMNS
    assert await cut(scene, worker, old.fence) == worker_pb2.OUTCOME_RECEIVED
    row = await scene.row(tasks, kind=TaskKind.INSPECT, state="READY")
    assert row.dataset == name.removeprefix("datasets/")
    async with scene.database.write() as tx:  # the job's weights come later
        await tx.execute(update(tasks).where(tasks.c.kind == TaskKind.INITIALIZE).values(state="DONE"))
    assert (await inspected(scene, worker, BY_B)).outcome == worker_pb2.OUTCOME_RECEIVED
    after = await scene.jobs.create("r-2", spec(name))
    assert ((await scene.jobs.get(before.name)).schema, after.schema) == (COLUMNS, BY_B)
    assert len(await scene.rows(plans)) == 2


async def test_warnings_alone_are_no_other_data(scene: Scene) -> None:
    worker = await scene.worker()
    name = await ready(scene, worker, COLUMNS)
    await scene.jobs.create("r-1", spec(name))
    schema = dataset_pb2.DataSchema()
    schema.CopyFrom(COLUMNS)
    schema.warnings.append("said by a newer worker")
    async with scene.database.write() as tx:
        await tx.execute(update(datasets).values(schema=schema.SerializeToString()))
    await scene.jobs.create("r-2", spec(name))
    assert len(await scene.rows(plans)) == 1


# --- refused ---


@pytest.mark.parametrize(
    ("reading", "field", "message"),
    [
        ({"label_column": "c"}, "reading.label_column", "there is no column c: there are a, b, label"),
        ({"label_column": "labl"}, "reading.label_column", "there is no column labl: did you mean label?"),
        ({"split_column": "splt"}, "reading.split_column", "there is no column splt: there are a, b, label"),
        ({"column_kinds": {"x": 1}}, 'reading.column_kinds["x"]', "there is no column x: there are a, b, label"),
        ({"label_column": "a", "split_column": "a"}, "reading.split_column", "cannot be the label and the split"),
    ],
)
async def test_a_reading_of_columns_that_are_not_there_is_refused(
    scene: Scene, reading: dict[str, Any], field: str, message: str
) -> None:
    name = await ready(scene, await scene.worker(), COLUMNS)
    before = await scene.datasets.get(name)
    with pytest.raises(InvalidArgument, match=message.replace("?", r"\?")) as raised:
        await scene.datasets.update(name, dataset_pb2.DatasetReading(**reading))
    assert raised.value.violations[0].field == field
    assert await scene.datasets.get(name) == before


def test_what_nobody_looked_at_may_have_any_column() -> None:
    check("c", "-", ["x"], [])
    check("-", "", [], ["a"])
    with pytest.raises(BadReading, match=r"there are 0, 1, 2, .* and 80 more"):
        check("no such", "", [], [str(number) for number in range(100)])


async def test_what_is_not_there_or_not_whole_or_going_is_not_read_again(scene: Scene) -> None:
    worker = await scene.worker()
    with pytest.raises(NoSuchResource):
        await scene.datasets.update("datasets/none", READING)
    dataset, _ = await scene.datasets.create(request())
    with pytest.raises(UploadIncomplete):
        await scene.datasets.update(dataset.name, READING)
    name = await ready(scene, worker, COLUMNS)
    async with scene.database.write() as tx:
        values = {"deleting": True, "state": "FAILED", "message": "delete it again"}
        await tx.execute(update(datasets).where(datasets.c.id == name.removeprefix("datasets/")).values(**values))
    with pytest.raises(DatasetNotReady, match="delete it again"):
        await scene.datasets.update(name, READING)


async def test_a_reading_longer_than_any_schema_is_refused(scene: Scene) -> None:
    kinds = {f"{number:0200}": dataset_pb2.COLUMN_KIND_TEXT for number in range(1000)}
    with pytest.raises(InvalidArgument, match="is too long: at most 131072"):
        await scene.datasets.create(request(reading=dataset_pb2.DatasetReading(column_kinds=kinds)))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            task_pb2.InspectResult(schema=dataset_pb2.DataSchema(warnings=["x" * MAX_SCHEMA_BYTES])),
            f"a schema of {MAX_SCHEMA_BYTES + 4} bytes is too long: at most {MAX_SCHEMA_BYTES}",
        ),
        (
            task_pb2.InspectResult(
                schema=SCHEMA,
                profile=dataset_pb2.DataProfile(samples=[dataset_pb2.SampleRow(values=["x" * MAX_PROFILE_BYTES])]),
            ),
            f"a profile of {MAX_PROFILE_BYTES + 8} bytes is too long: at most {MAX_PROFILE_BYTES}",
        ),
    ],
)
async def test_what_inspection_says_is_bounded(scene: Scene, result: task_pb2.InspectResult, message: str) -> None:
    worker = await scene.worker()
    await uploaded(scene)
    answer = await scene.results.complete(worker, await scene.lease(worker), task_pb2.TaskResult(inspect=result))
    assert (answer.outcome, answer.message) == (worker_pb2.OUTCOME_INVALID, message)


# --- lists ---


async def test_lists_leave_profiles_out(scene: Scene) -> None:
    worker = await scene.worker()
    name = await uploaded(scene)
    await inspected(scene, worker, COLUMNS, PROFILE)
    (listed,), token = await scene.datasets.page(0, "")
    assert (listed.name, listed.schema, token) == (name, COLUMNS, "")
    assert not listed.HasField("profile")
    assert (await scene.datasets.get(name)).profile == PROFILE


async def test_a_list_of_long_schemas_comes_in_shorter_pages(scene: Scene) -> None:
    long = dataset_pb2.DataSchema(label="label", rows=1, warnings=["x" * (PAGE_BYTES // 3)])
    for _ in range(5):
        dataset, _ = await scene.datasets.create(request())
        scene.now += 1
        async with scene.database.write() as tx:
            values = {"state": "READY", "schema": long.SerializeToString()}
            await tx.execute(
                update(datasets).where(datasets.c.id == dataset.name.removeprefix("datasets/")).values(**values)
            )
    pages, token = [], ""
    while True:
        page, token = await scene.datasets.page(0, token)
        pages.append([item.name for item in page])
        if not token:
            break
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({name for page in pages for name in page}) == 5


async def test_a_job_says_how_its_data_were_really_cut(scene: Scene) -> None:
    worker = await scene.worker()
    split = dataset_pb2.DataSchema()
    split.CopyFrom(COLUMNS)
    split.split_column, split.split_holdout_rows = "split", 40
    name = await ready(scene, worker, split)
    made = [await scene.jobs.create(f"r-{fraction}", spec(name, holdout=fraction)) for fraction in (0.1, 0.5)]
    assert [job.spec.plan.holdout_fraction for job in made] == [0.0, 0.0]
    assert len(await scene.rows(plans)) == 1
    plan = dataset_pb2.ShardPlan(shards=2, kind=dataset_pb2.SHARD_KIND_DIRICHLET)
    with pytest.raises(InvalidArgument) as raised:
        await scene.jobs.create("r", job_pb2.JobSpec(dataset=name, architecture="mlp", rounds=1, epochs=1, plan=plan))
    assert raised.value.violations[0].field == "spec.plan.alpha"


async def test_a_data_set_that_nobody_finished_to_upload_goes_after_its_time(scene: Scene) -> None:
    await scene.datasets.create(request())
    worker = await scene.worker()
    whole = await ready(scene, worker)
    scene.now += scene.settings.upload_patience + 60
    assert await scene.datasets.forget_unfinished() == 1
    assert await scene.datasets.forget_unfinished() == 0
    await scene.datasets.delete(whole, unfinished=True)
    assert (await scene.datasets.get(whole)).state == READY


async def test_a_data_set_is_read_again_on_the_wire(coordinator: Coordinator) -> None:
    made = await coordinator.datasets.CreateDataset(request("r"))
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE"):
        await coordinator.datasets.UpdateDataset(
            dataset_pb2.UpdateDatasetRequest(name=made.dataset.name, reading=READING)
        )
    await store_part(made.grant, TABLE)
    await coordinator.datasets.CompleteDataset(dataset_pb2.CompleteDatasetRequest(name=made.dataset.name))
    answer = await coordinator.datasets.UpdateDataset(
        dataset_pb2.UpdateDatasetRequest(name=made.dataset.name, reading=READING)
    )
    assert (answer.dataset.state, answer.dataset.reading) == (PREPARING, READING)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as found:
        bad = dataset_pb2.DatasetReading(column_kinds={"a": dataset_pb2.COLUMN_KIND_UNSPECIFIED})
        await coordinator.datasets.UpdateDataset(dataset_pb2.UpdateDatasetRequest(name=made.dataset.name, reading=bad))
    assert found[0].violations[0].field.startswith("reading.column_kinds")
