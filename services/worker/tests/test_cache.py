# ruff: noqa: ASYNC240  # tests may block
from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from trainnet.runtime.digest import of_bytes
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.worker.agent.cache import ArtifactCache
from trainnet.worker.errors import TaskDropped, TaskError


class Origin:
    """Where the cache's files come from."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def fetch(self, artifact: Artifact, path: Path, _refresh: Any) -> None:
        self.fetched.append(artifact.key)
        path.write_bytes(b"half")
        await self.gate.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        path.write_bytes(artifact.key.encode() * 100)


def artifact(letter: str) -> Artifact:
    data = letter.encode() * 100
    return Artifact(key=letter, digest=of_bytes(data), size_bytes=len(data))


async def refresh() -> Artifact:
    raise AssertionError


async def use(cache: ArtifactCache, letter: str, *, shard: bool = False) -> bytes:
    path = await cache.acquire(artifact(letter), refresh, shard=shard)
    data = path.read_bytes()
    cache.release(artifact(letter).digest)
    return data


async def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    origin = Origin()
    cache = ArtifactCache(tmp_path, 300, origin.fetch)
    for letter in "abcacd":
        assert await use(cache, letter) == letter.encode() * 100
    assert origin.fetched == ["a", "b", "c", "d"]
    await use(cache, "b")
    assert origin.fetched == ["a", "b", "c", "d", "b"]
    assert cache.total_bytes == 300 == sum(path.stat().st_size for path in tmp_path.iterdir())


async def test_what_is_in_use_stays(tmp_path: Path) -> None:
    origin = Origin()
    cache = ArtifactCache(tmp_path, 200, origin.fetch)
    held = await cache.acquire(artifact("a"), refresh)
    for letter in "bcd":
        await use(cache, letter)
    assert held.exists()
    cache.release(artifact("a").digest)


async def test_concurrent_callers_share_a_download(tmp_path: Path) -> None:
    origin = Origin()
    cache = ArtifactCache(tmp_path, 1000, origin.fetch)
    assert await asyncio.gather(*(use(cache, "a") for _ in range(5))) == [b"a" * 100] * 5
    assert origin.fetched == ["a"]


async def test_one_caller_leaving_does_not_take_the_others_download(tmp_path: Path, eventually: Any) -> None:
    origin = Origin()
    cache = ArtifactCache(tmp_path, 1000, origin.fetch)
    origin.gate.clear()
    first, second = (asyncio.create_task(use(cache, "a")) for _ in range(2))
    await eventually(lambda: origin.fetched)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    origin.gate.set()
    assert await second == b"a" * 100
    assert origin.fetched == ["a"]
    # The last one leaving ends it, and leaves nothing half done.
    origin.gate.clear()
    last = asyncio.create_task(use(cache, "b"))
    await eventually(lambda: origin.fetched == ["a", "b"])
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    origin.gate.set()
    assert await use(cache, "b") == b"b" * 100
    assert len(list(tmp_path.iterdir())) == 2


async def test_a_dropped_owner_leaves_the_download_to_the_next(tmp_path: Path, eventually: Any) -> None:
    origin = Origin()
    cache = ArtifactCache(tmp_path, 1000, origin.fetch)
    origin.gate.clear()
    first, second = (asyncio.create_task(use(cache, "a")) for _ in range(2))
    await eventually(lambda: origin.fetched)
    origin.error = TaskDropped("stale")
    origin.gate.set()
    with pytest.raises(TaskDropped):
        await first
    assert await second == b"a" * 100


async def test_a_damaged_file_of_an_earlier_run_is_fetched_again(tmp_path: Path) -> None:
    origin = Origin()
    await use(ArtifactCache(tmp_path, 1000, origin.fetch), "a", shard=True)
    await use(ArtifactCache(tmp_path, 1000, origin.fetch), "b")
    (file,) = tmp_path.glob("*.shard")
    file.write_bytes(b"A" * 100)
    (tmp_path / "sha256-feed.1.partial").touch()
    cache = ArtifactCache(tmp_path, 1000, origin.fetch)
    assert cache.shard_digests(10) == [artifact("a").digest]
    assert not list(tmp_path.glob("*.partial"))
    assert await use(cache, "a", shard=True) == b"a" * 100
    assert await use(cache, "b") == b"b" * 100
    assert origin.fetched == ["a", "b", "a"]


async def test_a_damaged_file_that_two_slots_look_at_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainnet.worker.agent.cache.SMALL", 10)  # so that it is looked at beside the loop
    origin = Origin()
    await use(ArtifactCache(tmp_path, 1000, origin.fetch), "a")
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"A" * 100)
    cache = ArtifactCache(tmp_path, 1000, origin.fetch)
    assert await asyncio.gather(*(use(cache, "a") for _ in range(3))) == [b"a" * 100] * 3
    assert origin.fetched == ["a", "a"]
    assert cache.total_bytes == 100


async def test_an_earlier_run_is_taken_up_in_order_and_within_the_limit(tmp_path: Path) -> None:
    origin = Origin()
    cache = ArtifactCache(tmp_path, 1000, origin.fetch)
    for at, letter in enumerate("abc"):
        path = await cache.acquire(artifact(letter), refresh)
        os.utime(path, (at, at))
    smaller = ArtifactCache(tmp_path, 200, origin.fetch)
    assert smaller.total_bytes == 200
    await use(smaller, "c")
    await use(smaller, "b")
    assert origin.fetched == ["a", "b", "c"]


async def test_larger_than_the_cache(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 99, Origin().fetch)
    with pytest.raises(TaskError, match="raise --max-disk"):
        await use(cache, "a")
