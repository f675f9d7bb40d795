"""The schema, the write lock, effects after the commit, and lists in pages."""

import asyncio
import base64
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from services.coordinator.tests.scene import Scene
from trainnet.coordinator.storage import schema
from trainnet.coordinator.storage.database import MadeAlready
from trainnet.coordinator.storage.migrate import migrate
from trainnet.coordinator.storage.opening import open_database
from trainnet.coordinator.storage.pages import page_of
from trainnet.coordinator.storage.schema import attempts, outbox, replicas, tasks, updates
from trainnet.runtime.errors import InvalidArgument

sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


async def test_the_migrations_make_the_schema(scene: Scene) -> None:
    differences: list[object] = []

    def compare(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences.extend(compare_metadata(context, schema.metadata))

    await scene.database.run_sync(compare)
    assert differences == []


async def test_migrating_again_changes_nothing(scene: Scene) -> None:
    await scene.worker()
    await migrate(scene.database)
    assert len(await scene.rows(schema.workers)) == 1


@sqlite_only
async def test_commits_are_durable_and_readers_do_not_block(scene: Scene) -> None:
    async with scene.database.read() as tx:
        found = {name: (await tx.execute(text(f"PRAGMA {name}"))).scalar() for name in ("journal_mode", "synchronous")}
        foreign_keys = (await tx.execute(text("PRAGMA foreign_keys"))).scalar()
    assert found == {"journal_mode": "wal", "synchronous": 2}
    assert foreign_keys == 1


async def test_a_failed_transaction_leaves_nothing_and_tells_nobody(scene: Scene) -> None:
    told = len(scene.told)

    async def fail() -> None:
        async with scene.database.write() as tx:
            await tx.execute(replicas.insert().values(id="r", seen=1.0))
            tx.effects.workers_wanted = True
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await scene.rows(replicas) == []
    assert len(scene.told) == told
    async with scene.database.write() as tx:
        await tx.execute(replicas.insert().values(id="r", seen=1.0))
    assert len(scene.told) == told + 1


async def test_effects_come_after_the_commit(scene: Scene) -> None:
    seen: list[int] = []

    async with scene.database.write() as tx:
        await tx.execute(replicas.insert().values(id="r", seen=1.0))
        tx.effects.outbox_filled = True
        scene.database.on_commit = lambda effects: seen.append(int(effects.outbox_filled))
        assert seen == []
        other = open_database(scene.settings.database_url)
        async with other.read() as reader:
            assert await reader.all(replicas.select()) == []
        await other.close()
    assert seen == [1]


@sqlite_only
async def test_writers_take_turns(scene: Scene) -> None:
    inside: list[int] = []

    async def write(number: int) -> None:
        async with scene.database.write() as tx:
            assert inside == []
            inside.append(number)
            await asyncio.sleep(0)
            await tx.execute(replicas.insert().values(id=f"r-{number}", seen=1.0))
            inside.remove(number)

    await asyncio.gather(*(write(number) for number in range(10)))
    assert len(await scene.rows(replicas)) == 10


async def test_a_cancelled_writer_leaves_nothing(scene: Scene) -> None:
    entered = asyncio.Event()

    async def write() -> None:
        async with scene.database.write() as tx:
            await tx.execute(replicas.insert().values(id="r", seen=1.0))
            entered.set()
            await asyncio.Event().wait()

    writer = asyncio.create_task(write())
    await entered.wait()
    writer.cancel()
    await asyncio.wait([writer])
    assert await scene.rows(replicas) == []
    await scene.worker()


async def test_two_accepted_updates_of_a_shard_cannot_be(scene: Scene) -> None:
    async def accepted(fence: int) -> None:
        async with scene.database.write() as tx:
            task = {"kind": "TRAIN", "identity": f"t{fence}", "pool": "TRUSTED", "priority": 0, "state": "READY"}
            made = await tx.execute(tasks.insert().values(**task, ready=0.0).returning(tasks.c.id))
            attempt = {"task": made.scalar_one(), "holder": "w", "state": "DONE", "assigned": 0.0, "expires": 0.0}
            await tx.execute(attempts.insert().values(fence=fence, **attempt))
            place = {"job": "j", "round": 1, "shard": 0, "worker": "w", "examples": 1, "state": "ACCEPTED"}
            await tx.execute(updates.insert().values(fence=fence, **place))

    await accepted(1)
    with pytest.raises((IntegrityError, MadeAlready)):
        await accepted(2)


async def test_fences_are_never_given_out_again(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    fence = await scene.offer(worker)
    await scene.jobs.cancel(f"jobs/{job}")
    await scene.jobs.delete(f"jobs/{job}")
    assert await scene.rows(attempts) == []
    await scene.job()
    assert await scene.offer(worker) > fence


async def test_pages_hold_every_row_once_while_rows_come(scene: Scene) -> None:
    made = []
    for number in range(5):
        scene.now += number % 2  # some at the same time
        made.append(await scene.job())
    seen: list[str] = []
    token = ""
    while True:
        async with scene.database.read() as tx:
            rows, token = await page_of(tx, schema.jobs, 2, token)
        seen += [row.id for row in rows]
        if not token:
            break
        scene.now += 1
        await scene.job()
    assert sorted(seen) == sorted(made)


@pytest.mark.parametrize("token", ["x", "ä", "!!!!", base64.urlsafe_b64encode(b"1.0").decode(), "AAAA"])
async def test_a_made_up_page_token_is_refused(scene: Scene, token: str) -> None:
    async with scene.database.read() as tx:
        with pytest.raises(InvalidArgument) as raised:
            await page_of(tx, schema.jobs, 2, token)
    assert raised.value.violations[0].field == "page_token"


async def test_an_event_is_queued_with_what_it_tells(scene: Scene, tmp_path: Path) -> None:
    await scene.job()
    (row,) = await scene.rows(outbox)
    assert row.subject.startswith("trainnet.v1.events.noop-")
    assert row.subject.endswith(".job_changed")
