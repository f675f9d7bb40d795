"""Downloaded artifacts by digest, bounded in bytes, least recently used first out.

A file gets its name by a rename after its digest was verified, so whatever carries a name was whole once. Files from
an earlier run are verified again before their first use: disks and people change things.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog

from trainnet.v1.artifact_pb2 import Artifact
from trainnet.worker.agent.downloads import Refresh, file_matches
from trainnet.worker.agent.transfers import SMALL
from trainnet.worker.errors import TaskDropped, TaskError

Fetch = Callable[[Artifact, Path, Refresh], Awaitable[None]]
_PARTIAL = ".partial"
_SHARD = ".shard"


@dataclass
class _Entry:
    path: Path
    size: int
    verified: bool


class ArtifactCache:
    """Files by digest. `acquire` keeps a file from being evicted until `release`."""

    def __init__(self, folder: Path, max_bytes: int, fetch: Fetch) -> None:
        self._folder, self._max_bytes, self._fetch = folder, max_bytes, fetch
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._shards: OrderedDict[str, None] = OrderedDict()
        self._pins: Counter[str] = Counter()
        self._downloads: dict[str, asyncio.Task[None]] = {}
        self._waiters: Counter[str] = Counter()
        self._bytes = 0
        self._attempts = 0
        self._log = structlog.get_logger(__name__)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._scan()

    @property
    def total_bytes(self) -> int:
        """Bytes of the finished files."""
        return self._bytes

    def shard_digests(self, most: int) -> list[str]:
        """Digests of cached shards, newest first."""
        return list(islice(reversed(self._shards), most))

    async def acquire(self, artifact: Artifact, refresh: Refresh, *, shard: bool = False) -> Path:
        """The verified file, downloaded when it is not there. Concurrent callers share one download.

        Raises TaskError. Every success needs one `release`.
        """
        digest = artifact.digest
        self._pins[digest] += 1
        try:
            while True:
                entry = self._entries.get(digest)
                if entry is None:
                    await self._join_download(artifact, refresh, shard=shard)
                elif await self._usable(entry, artifact):
                    self._entries.move_to_end(digest)
                    if digest in self._shards:
                        self._shards.move_to_end(digest)
                    return entry.path
        except BaseException:
            self.release(digest)
            raise

    def release(self, digest: str) -> None:
        """The caller does not need the file any more."""
        self._pins[digest] -= 1
        if self._pins[digest] <= 0:
            del self._pins[digest]
            if self._bytes > self._max_bytes:
                self._evict(0)

    async def _usable(self, entry: _Entry, artifact: Artifact) -> bool:
        if entry.verified and entry.path.exists():
            return True
        try:
            if entry.size > SMALL:
                whole = await asyncio.to_thread(file_matches, entry.path, artifact)
            else:
                whole = file_matches(entry.path, artifact)
        except OSError:
            whole = False
        if whole:
            entry.verified = True
            os.utime(entry.path)
        else:
            # Another slot may have looked at the same time, and may have the file anew by now.
            if self._entries.get(artifact.digest) is entry:
                self._log.warning("a cached file is damaged, downloading it again", file=entry.path.name)
                self._remove(artifact.digest)
        return whole

    async def _join_download(self, artifact: Artifact, refresh: Refresh, *, shard: bool) -> None:
        digest = artifact.digest
        task = self._downloads.get(digest)
        own = task is None
        if task is None:
            task = asyncio.create_task(self._download(artifact, refresh, shard=shard), name=f"download {digest}")
            self._downloads[digest] = task
            task.add_done_callback(self._downloaded)
        self._waiters[digest] += 1
        try:
            await asyncio.shield(task)
        except TaskDropped:
            # The task that began the download was dropped: ours goes on with URLs of its own.
            if own:
                raise
        finally:
            self._waiters[digest] -= 1
            if self._waiters[digest] <= 0:
                del self._waiters[digest]
                # Out of the table at once: the next caller must not join what is being cancelled.
                if self._downloads.get(digest) is task:
                    del self._downloads[digest]
                task.cancel()

    @staticmethod
    def _downloaded(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # retrieved: all who waited may have left

    async def _download(self, artifact: Artifact, refresh: Refresh, *, shard: bool) -> None:
        if artifact.size_bytes > self._max_bytes:
            raise TaskError(
                "WORKER",
                f"{artifact.key} has {artifact.size_bytes / 1e9:.1f} GB, more than the cache may hold "
                f"({self._max_bytes / 1e9:.1f} GB): raise --max-disk",
            )
        self._evict(artifact.size_bytes)
        name = artifact.digest.replace(":", "-").replace("/", "-")
        # A name of its own: a cancelled download may still hold its file open.
        self._attempts += 1
        partial = self._folder / f"{name}.{self._attempts}{_PARTIAL}"
        path = self._folder / f"{name}{_SHARD if shard else ''}"
        try:
            await self._fetch(artifact, partial, refresh)
            partial.replace(path)
        except OSError as error:
            raise TaskError("WORKER", f"the cache cannot be written: {error.strerror}; free some disk") from error
        finally:
            partial.unlink(missing_ok=True)
        self._add(artifact.digest, _Entry(path, artifact.size_bytes, verified=True))

    def _evict(self, needed: int) -> None:
        for digest in list(self._entries):
            if self._bytes + needed <= self._max_bytes:
                return
            if not self._pins[digest]:
                self._remove(digest)

    def _add(self, digest: str, entry: _Entry) -> None:
        self._entries[digest] = entry
        self._bytes += entry.size
        if entry.path.suffix == _SHARD:
            self._shards[digest] = None

    def _remove(self, digest: str) -> None:
        entry = self._entries.pop(digest)
        self._shards.pop(digest, None)
        self._bytes -= entry.size
        entry.path.unlink(missing_ok=True)

    def _scan(self) -> None:
        """Takes up what an earlier run left, oldest first."""
        found = []
        for path in self._folder.iterdir():
            digest = _digest_of(path)
            if digest is None:
                path.unlink(missing_ok=True)
            else:
                status = path.stat()
                found.append((status.st_mtime_ns, digest, _Entry(path, status.st_size, verified=False)))
        for _, digest, entry in sorted(found, key=lambda item: item[0]):
            self._add(digest, entry)
        self._evict(0)


def _digest_of(path: Path) -> str | None:
    name = path.name.removesuffix(_SHARD)
    if "." in name:
        return None
    if name.startswith("sha256-parts-"):
        whole, _, count = name.removeprefix("sha256-parts-").partition("-")
        return f"sha256-parts:{whole}/{count}"
    return f"sha256:{name.removeprefix('sha256-')}" if name.startswith("sha256-") else None
