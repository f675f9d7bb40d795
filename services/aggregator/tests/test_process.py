"""What only processes of their own can show: memory, death in the middle, a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio

from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import Objects
from trainnet.runtime.store import ObjectNotFound, ObjectStore
from trainnet.v1 import merge_pb2, merge_pb2_grpc
from trainnet.v1.merge_pb2 import Group, MergeWork, Term

Model = Any

# A merge in a process of its own. Told to, it stops in the middle of its reads and says so.
_CHILD = """
import json, sys, threading
from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import Objects
from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectStore
from trainnet.v1.merge_pb2 import MergeWork

endpoint, secret, work, stop_after = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), int(sys.argv[4])

class Store(ObjectStore):
    reads = 0
    def read_into(self, key, offset, view):
        super().read_into(key, offset, view)
        Store.reads += 1
        if Store.reads == stop_after:
            print("in the middle", flush=True)
        if stop_after and Store.reads >= stop_after:
            threading.Event().wait()

with Store(Credentials("admin", secret), endpoint=endpoint) as store:
    outcome = Engine(store, Objects(store), threads=2, slice_bytes=512 * 1024).merge(MergeWork.FromString(work))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"sha256": outcome.sha256, "peak": int(status["VmHWM"].split()[0])}))
"""


def child(weed: Any, work: MergeWork, stop_after: int = 0) -> list[str]:
    secret = weed.credentials.secret_key
    return [sys.executable, "-c", _CHILD, weed.endpoint, secret, work.SerializeToString().hex(), str(stop_after)]


def test_memory_does_not_grow_with_the_updates(weed: Any, large: Model) -> None:
    base, updates = large.base(), [large.update(i) for i in range(4)]

    def peak(count: int) -> int:
        terms = [Term(shard=i, update=updates[i % 4], weight=1.0 + i) for i in range(count)]
        work = MergeWork(groups=[Group(terms=terms)], base=base, key=large.key())
        run = subprocess.run(child(weed, work), check=True, stdout=subprocess.PIPE, timeout=100)
        found: int = json.loads(run.stdout)["peak"]
        return found

    # With two updates not all threads have one; the allocator's share differs from run to run.
    few, many = (min(peak(count) for _ in range(2)) for count in (4, 64))
    assert many <= 1.1 * few, f"{few} kB for 4 updates, {many} kB for 64"


def test_killed_in_the_middle_and_done_again(
    weed: Any, store: ObjectStore, large: Model, expected: Callable[..., bytes]
) -> None:
    base, terms = large.base(), [Term(shard=i, update=large.update(i), weight=1.0 + i) for i in range(4)]
    work = MergeWork(groups=[Group(terms=terms)], base=base, key=large.key())
    with subprocess.Popen(child(weed, work, stop_after=7), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        process.kill()
    try:
        store.stat(work.key)
    except ObjectNotFound:
        pass
    else:
        raise AssertionError("half a merge is visible")
    want = expected(large.read(base), [(term.weight, large.read(term.update)) for term in terms])
    outcome = Engine(store, Objects(store), threads=2, slice_bytes=1 << 20).merge(work)
    assert large.read(outcome.merged) == want


class Idle(merge_pb2_grpc.MergeServiceServicer):
    """Has no work and says so at once."""

    async def Claim(self, request: Any, context: Any) -> Any:  # noqa: N802
        return merge_pb2.ClaimResponse()


def environment(weed: Any, coordinator: str, ready: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TRAINNET_COORDINATOR": coordinator,
        "TRAINNET_AGGREGATOR_TOKEN": "secret",
        "TRAINNET_READY_FILE": str(ready),
        "TRAINNET_S3_ENDPOINT": weed.endpoint,
        "TRAINNET_S3_ACCESS_KEY": "admin",
        "TRAINNET_S3_SECRET_KEY": weed.credentials.secret_key,
    }


async def test_the_service_gets_ready_and_ends_with_0_on_sigterm(weed: Any, tmp_path: Path) -> None:
    import asyncio

    server = grpc.aio.server()
    merge_pb2_grpc.add_MergeServiceServicer_to_server(Idle(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready = tmp_path / "ready"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *["-m", "trainnet.aggregator"],
        env=environment(weed, f"127.0.0.1:{port}", ready),
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while not ready.exists():
                assert process.returncode is None
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
            assert process.returncode == 0, log.decode()
            assert b"Traceback" not in log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await server.stop(None)


def test_missing_settings_are_named() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "trainnet.aggregator"],
        env={key: value for key, value in os.environ.items() if not key.startswith("TRAINNET_")},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "TRAINNET_COORDINATOR is not set" in run.stderr
    assert "TRAINNET_AGGREGATOR_TOKEN is not set" in run.stderr
    assert "Traceback" not in run.stderr
