# ruff: noqa: ASYNC240  # tests may block
from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import pytest

from trainnet.v1.artifact_pb2 import Artifact, UploadGrant, UploadPart
from trainnet.worker.agent import transfers as transfers_module
from trainnet.worker.agent import uploads as uploads_module
from trainnet.worker.agent.bandwidth import PIECE, Bandwidth
from trainnet.worker.agent.downloads import RANGE, download
from trainnet.worker.agent.transfers import PATIENCE, SMALL, open_http
from trainnet.worker.agent.uploads import upload
from trainnet.worker.errors import TaskError

DATA = np.random.default_rng(0).bytes(9_000_000)
PART = 1_000_000


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_http() as session:
        yield session


async def no_refresh() -> Artifact:
    raise AssertionError("a fresh URL was asked for")


@pytest.mark.parametrize("part", [0, 4_000_000, 9_000_000])
@pytest.mark.parametrize("size", [1, 1000, 9_000_000])
async def test_whole_and_composite_digests(store: Any, http: Any, tmp_path: Path, size: int, part: int) -> None:
    await download(http, Bandwidth(), store.artifact("x", DATA[:size], part=part), tmp_path / "x", no_refresh)
    assert (tmp_path / "x").read_bytes() == DATA[:size]


@pytest.mark.parametrize("size", [1000, 9_000_000])
async def test_a_broken_connection_goes_on_where_it_broke(store: Any, http: Any, tmp_path: Path, size: int) -> None:
    artifact = store.artifact("x", DATA[:size])
    store.faults = ["truncate", "503", "truncate"]
    await download(http, Bandwidth(), artifact, tmp_path / "x", no_refresh)
    assert (tmp_path / "x").read_bytes() == DATA[:size]
    ranges = [found for _, _, found in store.requests]
    if size <= RANGE:
        assert ranges == [""] + ["bytes=500-999"] * 2 + ["bytes=750-999"]
    else:
        starts = [int(found.removeprefix("bytes=").partition("-")[0]) for found in ranges]
        assert starts[0] == 0 < starts[1] == starts[2] < starts[3]


async def test_a_line_that_breaks_again_and_again_is_borne_with_while_bytes_come(
    store: Any, http: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(step=0.6 * PATIENCE)
    monkeypatch.setattr(transfers_module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    artifact = store.artifact("x", DATA[:1000])
    store.faults = ["truncate"] * 4
    await download(http, Bandwidth(), artifact, tmp_path / "x", no_refresh)
    assert (tmp_path / "x").read_bytes() == DATA[:1000]
    store.faults = ["503"] * 4
    with pytest.raises(TaskError, match="failed for 600 s"):
        await download(http, Bandwidth(), artifact, tmp_path / "x", no_refresh)


async def test_large_objects_come_in_ranges(store: Any, http: Any, tmp_path: Path) -> None:
    await download(http, Bandwidth(), store.artifact("x", DATA), tmp_path / "x", no_refresh)
    assert [found for _, _, found in store.requests] == [f"bytes=0-{RANGE - 1}", f"bytes={RANGE}-{len(DATA) - 1}"]


async def test_an_expired_url_is_asked_for_again(store: Any, http: Any, tmp_path: Path) -> None:
    fresh: Artifact = store.artifact("x", DATA)

    async def refresh() -> Artifact:
        return fresh

    await download(http, Bandwidth(), store.artifact("x", valid="no"), tmp_path / "x", refresh)
    assert (tmp_path / "x").read_bytes() == DATA


async def test_a_store_that_always_refuses(store: Any, http: Any, tmp_path: Path) -> None:
    artifact: Artifact = store.artifact("x", DATA, valid="no")

    async def refresh() -> Artifact:
        return artifact

    with pytest.raises(TaskError, match="refused by the store with status 403") as caught:
        await download(http, Bandwidth(), artifact, tmp_path / "x", refresh)
    assert caught.value.reason == "WORKER"


async def test_wrong_bytes_are_never_taken(store: Any, http: Any, tmp_path: Path) -> None:
    artifact = store.artifact("x", DATA[:5000])
    store.faults = ["corrupt"]
    await download(http, Bandwidth(), artifact, tmp_path / "x", no_refresh)
    assert (tmp_path / "x").read_bytes() == DATA[:5000]
    store.faults = ["corrupt"] * 3
    with pytest.raises(TaskError, match="digest"):
        await download(http, Bandwidth(), artifact, tmp_path / "x", no_refresh)
    store.objects["x"] += b"more"
    with pytest.raises(TaskError):
        await download(http, Bandwidth(), artifact, tmp_path / "x", no_refresh)


class Uploads:
    """Grants the parts of one upload in windows, as a coordinator does."""

    def __init__(self, store: Any, window: int) -> None:
        self.store, self.window = store, window
        self.asked = 0
        self.expired = 0
        self.parts = [DATA[at : at + PART] for at in range(0, len(DATA), PART)]

    def key(self, number: int) -> str:
        return f"part-{number}"

    async def ask(self) -> UploadGrant:
        self.asked += 1
        grant = UploadGrant(key="u", digest="sha256-parts:x/9", total_parts=len(self.parts))
        for number, part in enumerate(self.parts, start=1):
            if self.key(number) in self.store.objects:
                grant.stored_bytes += len(part)
            elif len(grant.parts) < self.window:
                valid = "no" if self.expired else "yes"
                request = self.store.put_request(
                    self.key(number), hashlib.sha256(part).digest(), len(part), valid=valid
                )
                offset = (number - 1) * PART
                grant.parts.append(
                    UploadPart(part_number=number, offset_bytes=offset, size_bytes=len(part), request=request)
                )
        self.expired = max(0, self.expired - 1)
        return grant


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "update.safetensors"
    path.write_bytes(DATA)
    return path


async def test_windows_of_parts(store: Any, http: Any, file: Path) -> None:
    uploads = Uploads(store, window=4)
    assert await upload(http, Bandwidth(), file, len(DATA), uploads.ask) == "sha256-parts:x/9"
    assert b"".join(store.objects[uploads.key(number)] for number in range(1, 10)) == DATA
    assert uploads.asked == 3
    assert len(store.requests) == 9


async def test_stored_parts_are_not_sent_again(store: Any, http: Any, file: Path) -> None:
    uploads = Uploads(store, window=16)
    for number in range(1, 8):
        store.objects[uploads.key(number)] = uploads.parts[number - 1]
    await upload(http, Bandwidth(), file, len(DATA), uploads.ask)
    assert sorted(key for _, key, _ in store.requests) == ["part-8", "part-9"]
    assert uploads.asked == 1
    await upload(http, Bandwidth(), file, len(DATA), uploads.ask)
    assert len(store.requests) == 2


async def test_a_store_that_restarts_and_urls_that_expire(store: Any, http: Any, file: Path) -> None:
    uploads = Uploads(store, window=16)
    uploads.expired = 1
    store.faults = ["", "", "503", "503", "503"]
    await upload(http, Bandwidth(), file, len(DATA), uploads.ask)
    assert b"".join(store.objects[uploads.key(number)] for number in range(1, 10)) == DATA


async def test_an_answer_that_was_lost_counts_as_stored(store: Any, http: Any, file: Path) -> None:
    uploads = Uploads(store, window=16)
    grant = await uploads.ask()
    store.objects[uploads.key(3)] = uploads.parts[2]

    async def ask() -> UploadGrant:
        return grant

    await upload(http, Bandwidth(), file, len(DATA), ask)
    assert len(store.objects) == 9


async def test_one_limit_over_all_transfers(store: Any, file: Path, tmp_path: Path) -> None:
    rate = 24_000_000
    bandwidth = Bandwidth(rate)
    uploads = Uploads(store, window=16)
    small, large = store.artifact("small", DATA[: SMALL // 2]), store.artifact("large", DATA)
    started = time.monotonic()
    async with open_http(read_ahead=PIECE) as http:
        await asyncio.gather(
            upload(http, bandwidth, file, len(DATA), uploads.ask),
            download(http, bandwidth, small, tmp_path / "small", no_refresh),
            download(http, bandwidth, large, tmp_path / "large", no_refresh),
        )
    # Not faster than that, on any machine; how much slower is the machine's affair.
    assert time.monotonic() - started >= (2 * len(DATA) + SMALL // 2) / rate - 0.25
    assert b"".join(store.objects[uploads.key(number)] for number in range(1, 10)) == DATA
    assert (tmp_path / "small").read_bytes() == DATA[: SMALL // 2]
    assert (tmp_path / "large").read_bytes() == DATA


async def test_a_limit_is_no_reason_to_give_an_upload_up(
    store: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(uploads_module, "_SLOWEST", 10**9)
    uploads = Uploads(store, window=16)
    async with open_http(read_ahead=PIECE) as http:
        await upload(http, Bandwidth(9_000_000), file, len(DATA), uploads.ask)
    assert len(store.requests) == 9


async def test_bytes_that_changed_on_disk(store: Any, http: Any, file: Path) -> None:
    uploads = Uploads(store, window=16)
    file.write_bytes(bytes(len(DATA)))
    with pytest.raises(TaskError, match="the store refuses the bytes of part"):
        await upload(http, Bandwidth(), file, len(DATA), uploads.ask)
