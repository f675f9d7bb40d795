"""Uploads that came too late to have a row: they go when no grant can be alive, and nothing else goes."""

import time

import pytest

from services.coordinator.tests.scene import Scene, keys
from services.coordinator.tests.support import declaration, safetensors, store_part
from trainnet.coordinator.domain import names
from trainnet.coordinator.storage.schema import attempts, uploads
from trainnet.coordinator.usecases.sweeping import MARGIN, PREFIX, Sweeping
from trainnet.v1 import artifact_pb2, worker_pb2

LATE = safetensors([7.0])


@pytest.fixture
async def now(scene: Scene) -> Scene:
    """The scene by the store's clock, with an empty store."""
    scene.store.delete_prefix(PREFIX)
    scene.now = time.time()
    return scene


def no_grant_is_alive(scene: Scene) -> None:
    scene.now += scene.settings.url_ttl + MARGIN + 60


async def granted(scene: Scene, worker: str) -> artifact_pb2.UploadGrant:
    """Leave to upload an update, not used yet."""
    request = worker_pb2.UploadRequest(fence=await scene.lease(worker), output="update", declaration=declaration(LATE))
    grant = await scene.results.grant(worker, request, "nonce")
    assert isinstance(grant, artifact_pb2.UploadGrant)
    return grant


async def test_an_update_stored_after_its_job_was_deleted_goes(now: Scene) -> None:
    worker = await now.worker()
    job = await now.training(worker)
    grant = await granted(now, worker)
    await now.jobs.cancel(f"jobs/{job}")
    await now.jobs.delete(f"jobs/{job}")
    await store_part(grant, LATE)
    sweeping = Sweeping(now.context)
    assert (await sweeping.sweep()).objects == 0  # the grant is alive: it could be used again
    assert keys(now.store, [PREFIX]) == [grant.key]
    no_grant_is_alive(now)
    assert (await sweeping.sweep()).objects == 1
    assert keys(now.store, [PREFIX]) == []


async def test_an_update_stored_after_its_round_was_collected_goes(now: Scene) -> None:
    ada, bob = await now.worker("ada"), await now.worker("bob")
    await now.training(ada, rounds=4)
    grant = await granted(now, bob)
    await now.leases.expire((await now.row(uploads, object_key=grant.key)).fence, leased=True)
    for _ in range(4):
        await now.whole_round(ada)
    await now.retention.collect()
    await store_part(grant, LATE)
    kept = set(keys(now.store, [PREFIX])) - {grant.key}
    assert len(kept) == now.settings.keep_rounds
    no_grant_is_alive(now)
    assert (await Sweeping(now.context).sweep()).objects == 1
    assert set(keys(now.store, [PREFIX])) == kept


async def test_updates_of_rounds_that_are_kept_stay_however_old(now: Scene) -> None:
    worker = await now.worker()
    await now.training(worker, shards=2)
    await now.done(worker)
    await now.upload(worker, await now.lease(worker))
    before = keys(now.store, [PREFIX])
    assert len(before) == 2
    no_grant_is_alive(now)
    assert (await Sweeping(now.context).sweep()).objects == 0
    assert keys(now.store, [PREFIX]) == before


async def test_a_pass_is_one_page_and_the_next_goes_on_from_there(now: Scene) -> None:
    worker = await now.worker()
    await now.training(worker)
    await now.done(worker)
    (kept,) = keys(now.store, [PREFIX])
    lost = [names.update_key("gone", 1, shard, 1_000_000 + shard, "n") for shard in range(5)]
    for key in (*lost, f"{PREFIX}not-one-of-ours"):
        now.store.put(key, LATE)
    now.store.put("jobs/gone/model.safetensors", LATE, create_only=False)
    no_grant_is_alive(now)
    sweeping = Sweeping(now.context, page=3)
    passes = [await sweeping.sweep() for _ in range(3)]
    assert [item.objects for item in passes] == [3, 2, 1]
    assert [item.end for item in passes] == [False, False, True]
    assert keys(now.store, [PREFIX]) == [kept]
    assert now.store.stat("jobs/gone/model.safetensors")
    now.store.delete(["jobs/gone/model.safetensors"])


async def test_unfinished_uploads_go_unless_their_attempt_lives(now: Scene) -> None:
    ada, bob = await now.worker("ada"), await now.worker("bob")
    await now.training(ada, shards=2)
    begun = {}
    for worker in (ada, bob):
        grant = await granted(now, worker)
        upload_id = now.store.create_multipart(grant.key)
        async with now.database.write() as tx:
            await tx.execute(uploads.update().where(uploads.c.object_key == grant.key).values(upload_id=upload_id))
        begun[worker] = upload_id
    now.store.create_multipart(names.update_key("gone", 1, 0, 1_000_000, "n"))
    await now.leases.expire((await now.row(attempts, holder=bob, state="LEASED")).fence, leased=True)
    sweeping = Sweeping(now.context)
    assert (await sweeping.sweep()).uploads == 0
    no_grant_is_alive(now)
    assert (await sweeping.sweep()).uploads == 2
    assert [item.upload_id for item in now.store.list_uploads(PREFIX)] == [begun[ada]]
    now.store.delete_prefix(PREFIX)
