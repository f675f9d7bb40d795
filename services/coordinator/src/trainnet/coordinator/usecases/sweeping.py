"""Objects that nothing knows of: the late PUT of an update whose round was collected or whose job was deleted.

A presigned request outlives the row that it was granted for. What it stores then has no row that would ever lead to its
deletion, so now and then the store is asked what it holds. An object goes once no grant can be alive any more that
might bring it back: `url_ttl` and a margin after it came. Everything is looked at by key, a page in each pass, from
where the last pass ended. All of `uploads/` is ours: a bucket belongs to one installation.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import and_, bindparam, select

from trainnet.coordinator.domain.states import LIVE_ATTEMPTS
from trainnet.coordinator.storage.schema import attempts, rounds, tasks, uploads
from trainnet.coordinator.usecases.context import Context

T = TypeVar("T")

PREFIX = "uploads/"
PAGE = 1000
"""Objects, and unfinished uploads, looked at in one pass."""
MARGIN = 3600.0
"""Seconds: clocks of coordinators and stores differ."""
_KEY = re.compile(r"uploads/[^/]+/\d+/\d+/(?P<fence>\d{1,18})-[^/]+")

_KNOWN = (
    select(uploads.c.object_key, uploads.c.upload_id, rounds.c.freed, attempts.c.state)
    .join_from(uploads, attempts, attempts.c.fence == uploads.c.fence)
    .join(tasks, tasks.c.id == attempts.c.task)
    .join(rounds, and_(rounds.c.job == tasks.c.job, rounds.c.number == tasks.c.round), isouter=True)
    .where(uploads.c.fence.in_(bindparam("fences", expanding=True)))
)


@dataclass(frozen=True)
class Swept:
    """What one pass did."""

    objects: int = 0
    uploads: int = 0
    end: bool = True
    """It came to the end: the next one begins anew."""


class Sweeping:
    def __init__(self, context: Context, page: int = PAGE) -> None:
        self._context = context
        self._page = page
        self._after_object = self._after_upload = ""

    async def sweep(self) -> Swept:
        """One pass. Raises StoreError."""
        store = self._context.store
        objects = await asyncio.to_thread(page, store.list(PREFIX, after=self._after_object), self._page)
        unfinished = await asyncio.to_thread(page, store.list_uploads(PREFIX, after=self._after_upload), self._page)
        kept, live = await self._known([item.key for item in objects] + [item.key for item in unfinished])
        lost = [item for item in objects if item.key not in kept and self._old(item.modified)]
        await asyncio.to_thread(store.delete, [item.key for item in lost])
        stale = [item for item in unfinished if item.upload_id not in live and self._old(item.initiated)]
        for upload in stale:
            await asyncio.to_thread(store.abort_multipart, upload.key, upload.upload_id)
        self._after_object = objects[-1].key if len(objects) == self._page else ""
        self._after_upload = unfinished[-1].key if len(unfinished) == self._page else ""
        return Swept(len(lost), len(stale), not self._after_object and not self._after_upload)

    async def _known(self, keys: Sequence[str]) -> tuple[set[str], set[str]]:
        """Of the objects under these keys: (the keys that a row will lead to when their round is collected, the ids of
        the uploads that may still be completed)."""
        fences = [int(found["fence"]) for key in keys if (found := _KEY.fullmatch(key))]
        if not fences:
            return set(), set()
        async with self._context.database.read() as tx:
            rows = await tx.all(_KNOWN, {"fences": fences})
        kept = {row.object_key for row in rows if not row.freed}
        live = {row.upload_id for row in rows if row.upload_id is not None and row.state in LIVE_ATTEMPTS}
        return kept, live

    def _old(self, since: datetime | None) -> bool:
        return outlived(self._context, since)


def outlived(context: Context, since: datetime | None) -> bool:
    """Whether no grant of that time can be alive. What the store does not date is left alone."""
    age = context.settings.url_ttl + MARGIN
    return since is not None and context.clock() - since.timestamp() > age


def page(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))
