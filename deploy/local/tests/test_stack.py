"""The stack with the real NATS server and object store: restarts, what survives them, and every way to end it."""

import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import urllib3
from minio import Minio
from minio.error import S3Error

from deploy.local.tests.lines import Lines
from trainnet.local.endpoints import read
from trainnet.local.errors import DataFolderInUse, DataFolderUnusable, LocalError
from trainnet.local.nats_server import store_folder
from trainnet.local.stack import LocalStack
from trainnet.local.weed import BUCKET

SCRIPT = Path(__file__).with_name("run_infrastructure.py")


def client(stack: LocalStack) -> Minio:
    assert stack.secrets is not None
    return Minio(
        stack.endpoints.s3.removeprefix("http://"),
        access_key=stack.secrets.s3_access_key,
        secret_key=stack.secrets.s3_secret_key,
        secure=False,
        region="us-east-1",
    )


def get(store: Minio, key: str) -> bytes:
    answer = store.get_object(BUCKET, key)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def listeners(pid: int) -> set[str]:
    connections = psutil.Process(pid).net_connections(kind="inet")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_everything_listens_on_loopback_only(infrastructure: LocalStack) -> None:
    for name in infrastructure.names:
        assert listeners(infrastructure.pid(name)) == {"127.0.0.1"}, name


def test_the_endpoints_file_follows_the_processes(infrastructure: LocalStack) -> None:
    infrastructure.kill("nats")
    infrastructure.wait_ready("nats")
    deadline = time.monotonic() + 60
    while read(infrastructure.data_dir).pids.get("nats") != infrastructure.pid("nats"):
        assert time.monotonic() < deadline
    assert read(infrastructure.data_dir).grpc == infrastructure.endpoints.grpc


def test_objects_survive_kill_9_of_the_store(infrastructure: LocalStack, said: Lines) -> None:
    store = client(infrastructure)
    body = bytes(range(256)) * 4_096
    store.put_object(BUCKET, "kept", io.BytesIO(body), len(body))
    infrastructure.kill("store")
    infrastructure.wait_ready("store")
    assert get(store, "kept") == body
    said.wait_for(lambda line: line.startswith("store died (killed by signal 9), restarted in"))


def test_the_store_has_no_way_round_its_s3_api(infrastructure: LocalStack) -> None:
    assert infrastructure.ports is not None
    store = client(infrastructure)
    store.put_object(BUCKET, "private", io.BytesIO(b"secret"), 6)
    with pytest.raises(S3Error, match="AccessDenied"):
        get(Minio(infrastructure.endpoints.s3.removeprefix("http://"), secure=False, region="us-east-1"), "private")
    ports = infrastructure.ports
    http = urllib3.PoolManager(retries=False, timeout=5.0)
    for port in (ports.filer, ports.volume, ports.master, ports.admin):
        for method, path in (("GET", f"/buckets/{BUCKET}/private"), ("PUT", f"/buckets/{BUCKET}/forged")):
            try:
                answer = http.request(method, f"http://127.0.0.1:{port}{path}", body=b"x" if method == "PUT" else None)
            except urllib3.exceptions.HTTPError:
                continue
            assert answer.status >= 300, (port, method)
            assert b"secret" not in answer.data
    http.clear()
    with pytest.raises(S3Error, match="NoSuchKey"):
        store.stat_object(BUCKET, "forged")


def test_a_child_that_is_held_down_stays_down(infrastructure: LocalStack) -> None:
    infrastructure.hold_down("nats")
    assert "nats" not in infrastructure.pids
    with pytest.raises(LocalError, match="nats is not running"):
        infrastructure.pid("nats")
    assert infrastructure.data_dir.joinpath("nats").is_dir()
    shutil.rmtree(store_folder(infrastructure.data_dir))
    infrastructure.bring_up("nats")
    assert "nats" in infrastructure.pids


def test_two_stacks_cannot_share_a_data_folder(infrastructure: LocalStack) -> None:
    other = LocalStack(infrastructure.data_dir, infrastructure_only=True)
    with pytest.raises(DataFolderInUse, match=r"is in use by process \d+: stop that stack, or choose"):
        other.start()
    assert read(infrastructure.data_dir).nats == infrastructure.endpoints.nats


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderUnusable, match=r"Not a directory|File exists"):
        LocalStack(tmp_path / "file" / "data", infrastructure_only=True).start()


async def test_it_can_be_used_again_and_from_async_code(tmp_path: Path) -> None:
    async with LocalStack(tmp_path, infrastructure_only=True) as stack:
        first, secrets = stack.endpoints, stack.secrets
        client(stack).put_object(BUCKET, "kept", io.BytesIO(b"kept"), 4)
        pids = list(stack.pids.values())
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not (tmp_path / "endpoints.json").exists()
    async with stack:
        assert stack.endpoints == first
        assert stack.secrets == secrets
        assert get(client(stack), "kept") == b"kept"
        stack.kill("nats")
        await stack.until_ready("nats")


@contextmanager
def own_process(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, SCRIPT, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_all(tmp_path: Path, number: signal.Signals) -> None:
    with own_process(tmp_path) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "stopped\n")
        assert all(ended(child) for child in family)
        assert not (tmp_path / "endpoints.json").exists()


def test_ctrl_c_while_it_starts_stops_what_has_started(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, SCRIPT, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (log := tmp_path / "logs" / "store.log").exists() or not log.stat().st_size:
            assert time.monotonic() < deadline, "the store was not started"
            time.sleep(0.01)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "stopped\n")
        assert all(ended(child) for child in family)
    finally:
        process.kill()
        process.communicate()


def test_kill_9_of_the_stack_leaves_nobody_behind_and_the_folder_free(tmp_path: Path) -> None:
    with own_process(tmp_path) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 3  # nats, the store, the guard
        process.kill()
        process.wait()
    with LocalStack(tmp_path, infrastructure_only=True) as stack:
        # Once the folder could be locked again, nobody of the old family ran any more.
        assert all(ended(child) for child in family)
        assert set(stack.pids) == {"nats", "store"}
