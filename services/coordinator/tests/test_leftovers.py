"""Bytes that came after their data set, plan, model or job was deleted: they go, and nothing else goes."""

import re
import time

import pytest

from services.coordinator.tests.data import cut, ready, request, spec
from services.coordinator.tests.scene import Scene, keys
from services.coordinator.tests.support import declaration, safetensors, store_part
from services.coordinator.tests.training import created, initialized, prepared, took
from trainnet.coordinator.domain import names
from trainnet.coordinator.storage.schema import plans
from trainnet.coordinator.usecases.leftovers import TABLES, Leftovers
from trainnet.coordinator.usecases.sweeping import MARGIN, Swept
from trainnet.runtime.store import PART_SIZE
from trainnet.v1 import artifact_pb2, worker_pb2

PREFIXES = [f"{name}/" for name in TABLES]
LATE = safetensors([7.0])


@pytest.fixture
async def now(scene: Scene) -> Scene:
    """The scene by the store's clock, with an empty store."""
    for prefix in PREFIXES:
        scene.store.delete_prefix(prefix)
    scene.now = time.time()
    return scene


def no_grant_is_alive(scene: Scene) -> None:
    scene.now += scene.settings.url_ttl + MARGIN + 60


async def test_a_source_stored_after_its_data_set_was_deleted_goes(now: Scene) -> None:
    dataset, grant = await now.datasets.create(request())
    assert grant is not None
    await now.datasets.delete(dataset.name)
    await store_part(grant, b"a,b,label\n1,2,x\n3,4,y\n")
    leftovers = Leftovers(now.context)
    assert (await leftovers.sweep()).objects == 0  # the grant is alive: it could be used again
    no_grant_is_alive(now)
    assert (await leftovers.sweep()).objects == 1
    assert keys(now.store, PREFIXES) == []


async def test_a_shard_stored_after_its_plan_was_deleted_goes(now: Scene) -> None:
    worker = await now.worker()
    name = await ready(now, worker)
    job = await now.jobs.create("r", spec(name))
    upload = worker_pb2.UploadRequest(fence=await now.lease(worker), output="shard-0", declaration=declaration(LATE))
    grant = await now.results.grant(worker, upload, "nonce")
    assert isinstance(grant, artifact_pb2.UploadGrant)
    await now.jobs.cancel(job.name)
    await now.datasets.delete(name)
    await store_part(grant, LATE)
    no_grant_is_alive(now)
    assert (await Leftovers(now.context).sweep()).objects == 1
    assert keys(now.store, PREFIXES) == []


async def test_what_has_a_row_stays_however_old(now: Scene) -> None:
    worker = await now.worker()
    name = await ready(now, worker)
    await now.jobs.create("r", spec(name))
    await cut(now, worker, await now.lease(worker))
    await now.done(worker, "base")
    before = keys(now.store, PREFIXES)
    assert len(before) == 5
    no_grant_is_alive(now)
    assert await Leftovers(now.context).sweep() == Swept()
    assert keys(now.store, PREFIXES) == before
    assert keys(now.store, [names.plan_prefix((await now.row(plans)).id)])


async def test_unfinished_uploads_go_with_their_row(now: Scene) -> None:
    large = artifact_pb2.UploadDeclaration(size_bytes=2 * PART_SIZE, part_sha256=[bytes(32)] * 2)
    dataset, _ = await now.datasets.create(request(declaration=large))
    now.store.create_multipart("models/gone/source/data")
    leftovers = Leftovers(now.context)
    assert (await leftovers.sweep()).uploads == 0
    no_grant_is_alive(now)
    assert (await leftovers.sweep()).uploads == 1
    assert [item.key for item in now.store.list_uploads("datasets/")] == [dataset.source.key]
    now.store.delete_prefix("datasets/")


async def test_a_pass_is_a_page_of_each_and_the_next_goes_on_from_there(now: Scene) -> None:
    for number in range(5):
        now.store.put(f"models/gone-{number}/source/data", LATE)
    no_grant_is_alive(now)
    leftovers = Leftovers(now.context, size=3)
    assert [(await leftovers.sweep()).objects for _ in range(3)] == [3, 2, 0]


async def test_what_an_attempt_stored_in_vain_goes(now: Scene) -> None:
    ada, bob = await now.worker("ada"), await now.worker("bob")
    job = await created(now, ada)
    await prepared(now, ada)
    _, slow, _ = await took(now, ada)
    await now.upload(ada, slow, "base", LATE)
    await now.upload(ada, slow, "bundle", LATE)
    await now.leases.expire(slow, leased=True)
    await initialized(now, bob, bundle=b"zip")
    kept = keys(now.store, PREFIXES)
    lost = [key for key in kept if re.search(rf"/{slow}[./]", key)]
    assert sorted(lost) == [f"jobs/{job}/base/{slow}.safetensors", f"jobs/{job}/parts/{slow}/bundle"]
    leftovers = Leftovers(now.context)
    assert (await leftovers.sweep()).objects == 0  # its grants are alive
    no_grant_is_alive(now)
    assert (await leftovers.sweep()).objects == 2
    assert keys(now.store, PREFIXES) == [key for key in kept if key not in lost]
