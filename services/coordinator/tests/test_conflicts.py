"""PostgreSQL: transactions that meet, and a server that is killed under a coordinator at work."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from sqlalchemy import update
from sqlalchemy.engine import make_url

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.scene import Scene
from services.coordinator.tests.support import noop_spec, refused, until
from tests.support.postgres import PostgresServer
from trainnet.coordinator.storage.database import Conflict, DatabaseAway
from trainnet.coordinator.storage.opening import UnknownDatabase, open_database
from trainnet.coordinator.storage.schema import replicas
from trainnet.local.stack import LocalStack
from trainnet.v1 import job_pb2, task_pb2, worker_pb2

postgresql_only = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[Any]:
    """A connection from outside that is never the one to give way: others notice a deadlock long before it does."""
    parsed = make_url(url)
    connection = await asyncpg.connect(
        host=parsed.query["host"], user=parsed.username, database=parsed.database, timeout=10, command_timeout=30
    )
    try:
        await connection.execute("SET deadlock_timeout = '60s'")
        yield connection
    finally:
        await connection.close()


async def somebody_waits(connection: Any) -> None:
    async def look() -> bool:
        query = (
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE NOT granted AND datname = current_database())"
        )
        return bool(await connection.fetchval(query))

    await until(look, "a transaction waits for a lock")


@postgresql_only
async def test_one_of_two_transactions_that_wait_for_each_other_is_undone(scene: Scene, database: str) -> None:
    async with scene.database.write() as tx:
        await tx.execute(replicas.insert(), [{"id": "r-a", "seen": 1.0}, {"id": "r-b", "seen": 1.0}])
    told = len(scene.told)

    async def change_both() -> None:
        async with scene.database.write() as tx:
            for name in ("r-a", "r-b"):
                await tx.execute(update(replicas).where(replicas.c.id == name).values(seen=2.0))

    async with stranger(database) as other, other.transaction():
        await other.execute("UPDATE replicas SET seen = 3 WHERE id = 'r-b'")
        ours = asyncio.create_task(change_both())
        await somebody_waits(other)
        await other.execute("UPDATE replicas SET seen = 3 WHERE id = 'r-a'")
        with pytest.raises(Conflict):
            await ours
    assert {row.seen for row in await scene.rows(replicas)} == {3.0}
    assert len(scene.told) == told, "nobody hears of what was undone"


@postgresql_only
async def test_a_call_that_met_another_transaction_is_made_again(coordinator: Coordinator, database: str) -> None:
    job = await coordinator.create(noop_spec(shards=1))
    name = job.name.removeprefix("jobs/")
    async with stranger(database) as other:
        meeting = other.transaction()
        await meeting.start()
        await other.execute("SELECT FROM tasks WHERE job = $1 FOR UPDATE", name)
        cancelled = asyncio.ensure_future(coordinator.jobs.CancelJob(job_pb2.CancelJobRequest(name=job.name)))
        await somebody_waits(other)
        # Waits for the cancel, which waits for us: it is the one that is undone, and that comes back.
        await other.execute("SELECT FROM jobs WHERE id = $1 FOR UPDATE", name)
        await meeting.commit()
        assert (await cancelled).job.state == job_pb2.JOB_STATE_CANCELLED


async def test_the_same_request_many_times_at_once_makes_one_thing(coordinator: Coordinator) -> None:
    request = job_pb2.CreateJobRequest(request_id="the-same-one", spec=noop_spec(shards=1))
    jobs = await asyncio.gather(*(coordinator.jobs.CreateJob(request) for _ in range(8)))
    assert len({answer.job.name for answer in jobs}) == 1

    joining = worker_pb2.RegisterRequest(
        request_id="the-same-worker-again", join_token=coordinator.secrets.join_token, display_name="ada"
    )
    joined = await asyncio.gather(*(coordinator.registration.Register(joining) for _ in range(8)))
    assert len({answer.worker for answer in joined}) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///{folder}/missing/coordinator.db", "unable to open database file"),
        ("postgresql://somebody@/nothing?host={folder}", "No such file or directory"),
        ("{server}", "database .* does not exist"),
    ],
)
async def test_a_coordinator_without_its_database_says_why_it_cannot_start(
    infrastructure: LocalStack, postgres: PostgresServer, tmp_path: Path, url: str, words: str
) -> None:
    found = url.replace("{folder}", str(tmp_path)).replace("{server}", postgres.url("nothing-there"))
    coordinator = Coordinator(infrastructure, tmp_path, database_url=found)
    coordinator.store.close()
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "trainnet.coordinator"],
        env={**os.environ, **coordinator.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert re.fullmatch(f"coordinator: TRAINNET_DATABASE_URL: .*{words}.*\n", ended.stderr), ended.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("no url at all", "must be sqlite:///FILE or postgresql://"),
        ("mysql://localhost/trainnet", "mysql is none"),
    ],
)
def test_a_url_of_no_database_is_refused(url: str, words: str) -> None:
    with pytest.raises(UnknownDatabase, match=words):
        open_database(url)


async def test_a_server_that_is_not_there_is_told_apart(tmp_path: Path) -> None:
    database = open_database(f"postgresql://somebody@/nothing?host={tmp_path}")
    with pytest.raises(DatabaseAway):
        async with database.read():
            pass
    await database.close()


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server of this test's own, to be killed."""
    with PostgresServer() as server:
        yield server


LOOPS = {
    "scheduler": "no work is given out",
    "expire": "nothing expires yet",
    "flush": "sessions are not written yet",
    "collect": "old rounds are not collected yet",
    "peers": "no sign of life is given",
    "relay": "events wait in the outbox",
}
"""What each loop says when it cannot do its work."""


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
async def test_a_coordinator_outlives_its_database(
    infrastructure: LocalStack,
    mortal: PostgresServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    kill: bool,
) -> None:
    mortal.create("coordinator")
    url = mortal.url("coordinator")
    heard = ""

    def said() -> str:
        nonlocal heard
        heard += "".join(capfd.readouterr())
        return heard

    async with Coordinator(infrastructure, tmp_path, database_url=url, lease_ttl=4.0) as coordinator:
        job = await coordinator.create(noop_spec(rounds_=2, shards=1))
        worker = await coordinator.worker(slots=2)
        await worker.hand_in(await worker.take())
        training = await worker.take_kind(task_pb2.TASK_KIND_TRAIN)
        said()

        await asyncio.to_thread(mortal.kill if kill else mortal.stop)
        with pytest.raises(grpc.aio.AioRpcError):
            await coordinator.job(job.name)  # whatever a connection says that breaks in mid-call
        async with refused(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
            await coordinator.job(job.name)

        async def all_loops_failed() -> bool:
            await worker.heartbeat()  # a session needs no database
            return all(line in said() for line in LOOPS.values())

        await until(all_loops_failed, "every loop has met the outage")
        await asyncio.to_thread(mortal.start)

        await worker.hand_in(training)
        await coordinator.aggregator.check()
        await coordinator.aggregator.merge()
        await worker.hand_in(await worker.take_kind(task_pb2.TASK_KIND_TRAIN))
        await coordinator.aggregator.check()
        await coordinator.aggregator.merge()
        await coordinator.job_in(job.name, "SUCCEEDED")
        assert "background task failed" not in said()
        await assert_invariants(coordinator.database, coordinator.store)
