"""What tests of the coordinator share: waiting, small files, declarations, expected errors."""

import asyncio
import hashlib
import json
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import urllib3

from trainnet.local.services import Services
from trainnet.local.stack import LocalStack
from trainnet.runtime.errors import WireError, describe
from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectStore
from trainnet.v1 import (
    artifact_pb2,
    dataset_pb2,
    job_pb2,
)

T = TypeVar("T")

PATIENCE = 15.0
"""Longest wait for anything that should happen at once; only a broken test waits so long."""


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Looks until there is something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"{what} not within {PATIENCE} s"
        await asyncio.sleep(0.02)


def safetensors(values: Iterable[float]) -> bytes:
    """A file with one fp32 vector `w`."""
    numbers = list(values)
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(numbers)], "data_offsets": [0, 4 * len(numbers)]}})
    padded = header.encode().ljust(-(-len(header) // 8) * 8)
    return struct.pack("<Q", len(padded)) + padded + struct.pack(f"<{len(numbers)}f", *numbers)


def vector(data: bytes) -> list[float]:
    """The numbers of such a file."""
    (header,) = struct.unpack("<Q", data[:8])
    return list(struct.unpack(f"<{(len(data) - 8 - header) // 4}f", data[8 + header :]))


def declaration(data: bytes) -> artifact_pb2.UploadDeclaration:
    return artifact_pb2.UploadDeclaration(size_bytes=len(data), part_sha256=[hashlib.sha256(data).digest()])


def noop_spec(rounds_: int = 1, shards: int = 2, **fields: Any) -> job_pb2.JobSpec:
    """A job that needs no data."""
    plan = dataset_pb2.ShardPlan(shards=shards)
    return job_pb2.JobSpec(architecture="noop", rounds=rounds_, epochs=1, plan=plan, **fields)


def send(signed: artifact_pb2.SignedRequest, data: bytes | None = None) -> urllib3.BaseHTTPResponse:
    """One presigned request, as a worker would send it."""
    with urllib3.PoolManager() as pool:
        return pool.request(signed.method, signed.url, headers=dict(signed.headers), body=data, retries=False)


async def store_part(grant: artifact_pb2.UploadGrant, data: bytes) -> None:
    for part in grant.parts:
        chunk = data[part.offset_bytes : part.offset_bytes + part.size_bytes]
        answer = await asyncio.to_thread(send, part.request, chunk)
        assert answer.status in {200, 412}, answer.data


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str | None = None) -> AsyncIterator[list[WireError]]:
    """The block must end in this error, which is in the list afterwards."""
    found: list[WireError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield found
    found.append(describe(raised.value))
    assert found[0].code == code, found[0]
    assert reason is None or found[0].reason == reason, found[0]


def environment(stack: LocalStack, folder: Path) -> dict[str, str]:
    """What the local stack tells a coordinator."""
    assert stack.secrets is not None
    assert stack.ports is not None
    return dict(Services(folder, stack.ports, stack.secrets, 2, 1, "warning", "json", {}).coordinator().env)


def store_of(stack: LocalStack) -> ObjectStore:
    assert stack.secrets is not None
    assert stack.ports is not None
    credentials = Credentials(stack.secrets.s3_access_key, stack.secrets.s3_secret_key)
    return ObjectStore(credentials, endpoint=f"127.0.0.1:{stack.ports.s3}")
