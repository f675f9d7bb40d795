"""Models that owners upload as a base."""

import secrets
from typing import Any

import grpc
import pytest
from sqlalchemy import update

from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import Scene, keys
from services.coordinator.tests.support import declaration, refused, safetensors, store_part
from services.coordinator.tests.test_data import without_store
from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import ModelState
from trainnet.coordinator.storage.schema import datasets, jobs, models
from trainnet.coordinator.usecases.errors import (
    InUse,
    ModelNotReady,
    NoSuchResource,
    NotUploading,
    RequestIdReused,
    UploadIncomplete,
)
from trainnet.coordinator.usecases.models import Models, usable
from trainnet.coordinator.usecases.uploads import StoreAway
from trainnet.runtime import digest
from trainnet.runtime.errors import InvalidArgument
from trainnet.runtime.store import PART_SIZE
from trainnet.v1 import artifact_pb2, model_pb2

WEIGHTS = safetensors([1.0, 2.0])


def request(request_id: str = "", data: bytes = WEIGHTS, **fields: Any) -> model_pb2.CreateModelRequest:
    given = {"display_name": "encoder", "format": model_pb2.MODEL_FORMAT_SAFETENSORS, **fields}
    return model_pb2.CreateModelRequest(
        **{"request_id": request_id or secrets.token_hex(8), "declaration": declaration(data), **given}
    )


async def ready(scene: Scene, **fields: Any) -> str:
    model, grant = await scene.models.create(request(**fields))
    assert grant is not None
    await store_part(grant, WEIGHTS)
    return (await scene.models.complete(model.name)).name


async def base_of(scene: Scene, name: str, job: str) -> None:
    """Makes a job start from a model."""
    async with scene.database.write() as tx:
        row = await usable(tx, name)
        await tx.execute(update(jobs).where(jobs.c.id == job).values(base_model=row.id))


async def test_a_model_is_uploaded(scene: Scene) -> None:
    model, grant = await scene.models.create(request("r", format=model_pb2.MODEL_FORMAT_FOLDER))
    assert (model.state, model.format, model.display_name) == (
        model_pb2.MODEL_STATE_UPLOADING,
        model_pb2.MODEL_FORMAT_FOLDER,
        "encoder",
    )
    assert grant is not None
    with pytest.raises(UploadIncomplete):
        await scene.models.complete(model.name)
    await store_part(await scene.models.grant(model.name), WEIGHTS)
    whole = await scene.models.complete(model.name)
    assert whole.state == model_pb2.MODEL_STATE_READY
    assert (whole.source.key, whole.source.digest) == (f"{model.name}/source/data", digest.of_bytes(WEIGHTS))
    assert await scene.models.complete(model.name) == whole == await scene.models.get(model.name)
    with pytest.raises(NotUploading):
        await scene.models.grant(model.name)
    again, nothing = await scene.models.create(request("r", format=model_pb2.MODEL_FORMAT_FOLDER))
    assert (again, nothing) == (whole, None)


@pytest.mark.parametrize("other", [{"data": b"else"}, {"display_name": "b"}, {"format": model_pb2.MODEL_FORMAT_FOLDER}])
async def test_a_request_id_is_for_one_model(scene: Scene, other: dict[str, Any]) -> None:
    await scene.models.create(request("r"))
    with pytest.raises(RequestIdReused):
        await scene.models.create(request("r", **other))
    assert len(await scene.rows(models)) == 1


async def test_a_declaration_with_too_few_digests_is_refused(scene: Scene) -> None:
    short = artifact_pb2.UploadDeclaration(size_bytes=2 * PART_SIZE, part_sha256=[bytes(32)])
    with pytest.raises(InvalidArgument) as raised:
        await scene.models.create(request(declaration=short))
    assert raised.value.violations[0].field == "declaration.part_sha256"


async def test_models_are_listed_newest_first(scene: Scene) -> None:
    made = []
    for _ in range(3):
        made.append((await scene.models.create(request()))[0].name)
        scene.now += 1
    first, token = await scene.models.page(2, "")
    rest, end = await scene.models.page(2, token)
    assert [model.name for model in (*first, *rest)] == made[::-1]
    assert end == ""


async def test_a_deleted_model_is_gone_with_its_bytes(scene: Scene) -> None:
    name = await ready(scene)
    await scene.models.delete(name)
    assert keys(scene.store, [f"{name}/"]) == []
    for call in (scene.models.get, scene.models.grant, scene.models.complete, scene.models.delete):
        with pytest.raises(NoSuchResource):
            await call(name)


async def test_a_model_that_a_job_starts_from_is_not_deleted(scene: Scene) -> None:
    name, job = await ready(scene), await scene.job()
    await base_of(scene, name, job)
    with pytest.raises(InUse, match=f"jobs/{job} starts from: cancel that job first"):
        await scene.models.delete(name)
    await scene.jobs.cancel(f"jobs/{job}")
    await scene.models.delete(name)
    await scene.jobs.get(f"jobs/{job}")


async def test_a_model_whose_bytes_could_not_be_deleted_can_be_deleted_again(scene: Scene) -> None:
    name, job = await ready(scene), await scene.job()
    with pytest.raises(StoreAway, match="delete it again"):
        await Models(without_store(scene)).delete(name)
    assert (await scene.models.get(name)).state == model_pb2.MODEL_STATE_DELETING
    with pytest.raises(ModelNotReady, match="is DELETING"):
        await base_of(scene, name, job)
    await scene.models.delete(name)
    assert (await scene.rows(models), keys(scene.store, [f"{name}/"])) == ([], [])


async def test_only_whole_models_can_be_started_from(scene: Scene) -> None:
    job = await scene.job()
    with pytest.raises(NoSuchResource):
        await base_of(scene, "models/none", job)
    model, _ = await scene.models.create(request())
    with pytest.raises(ModelNotReady, match="is UPLOADING: finish its upload"):
        await base_of(scene, model.name, job)


# --- what nobody finishes ---


async def test_what_nobody_finished_to_upload_goes_after_its_time(scene: Scene) -> None:
    large = artifact_pb2.UploadDeclaration(size_bytes=2 * PART_SIZE, part_sha256=[bytes(32)] * 2)
    stale, _ = await scene.models.create(request(declaration=large))
    whole = await ready(scene)
    assert len(list(scene.store.list_uploads(f"{stale.name}/"))) == 1
    scene.now += scene.settings.upload_patience - 60
    fresh, _ = await scene.models.create(request())
    assert await scene.models.forget_unfinished() == 0
    scene.now += 120
    assert await scene.models.forget_unfinished() == 1
    assert {names.uploaded_model(row.id) for row in await scene.rows(models)} == {whole, fresh.name}
    assert list(scene.store.list_uploads(f"{stale.name}/")) == []


async def test_a_deletion_that_broke_off_is_finished(scene: Scene) -> None:
    name, whole = await ready(scene), await ready(scene)
    with pytest.raises(StoreAway):
        await Models(without_store(scene)).delete(name)
    assert await scene.models.forget_unfinished() == 1
    assert [names.uploaded_model(row.id) for row in await scene.rows(models)] == [whole]
    assert keys(scene.store, [f"{name}/"]) == []


async def test_what_became_whole_meanwhile_stays(scene: Scene) -> None:
    name = await ready(scene)
    await scene.models.delete(name, unfinished=True)
    assert (await scene.row(models)).state == ModelState.READY
    assert await scene.rows(datasets) == []


# --- on the wire ---


async def test_models_are_served(coordinator: Coordinator) -> None:
    made = await coordinator.models.CreateModel(request("r"))
    await store_part(made.grant, WEIGHTS)
    named = {"name": made.model.name}
    granted = await coordinator.models.GrantModelUpload(model_pb2.GrantModelUploadRequest(**named))
    assert granted.grant.stored_bytes in (0, len(WEIGHTS))
    whole = await coordinator.models.CompleteModel(model_pb2.CompleteModelRequest(**named))
    shown = await coordinator.models.GetUploadedModel(model_pb2.GetUploadedModelRequest(**named))
    listed = await coordinator.models.ListModels(model_pb2.ListModelsRequest())
    assert list(listed.models) == [shown.model] == [whole.model]
    await coordinator.models.DeleteModel(model_pb2.DeleteModelRequest(**named))
    async with refused(grpc.StatusCode.NOT_FOUND):
        await coordinator.models.GetUploadedModel(model_pb2.GetUploadedModelRequest(**named))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"format": 0}, "format"),
        ({"format": 9}, "format"),
        ({"display_name": ""}, "display_name"),
        ({"request_id": "a b"}, "request_id"),
        ({"declaration": artifact_pb2.UploadDeclaration()}, "declaration.size_bytes"),
    ],
)
async def test_a_bad_model_is_refused_by_field(coordinator: Coordinator, fields: dict[str, Any], field: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as found:
        await coordinator.models.CreateModel(request(**fields))
    assert field in [violation.field for violation in found[0].violations]
