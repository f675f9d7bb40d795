"""What a deletion could not know of: bytes stored by a request that was signed before it, and outlived the row.

Keys of data sets, plans, models and jobs begin with the name of their row. Once that is gone and no grant can be alive
any more, neither an object nor an unfinished upload below it leads anywhere. The same holds for what an attempt stored
that came to nothing, of tasks whose results count at once: its fence stands in the key.
"""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Table, bindparam, select

from trainnet.coordinator.domain.states import LIVE_ATTEMPTS, AttemptState
from trainnet.coordinator.storage.schema import attempts, datasets, jobs, models, plans
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.sweeping import PAGE, Swept, outlived, page

TABLES = {"datasets": datasets, "jobs": jobs, "models": models, "plans": plans}
"""By what the keys begin with."""

_ATTEMPT = re.compile(r"(?:jobs/[^/]+/(?:base|parts|model)|plans/[^/]+)/(?P<fence>\d{1,18})[./].+")
_VAIN = select(attempts.c.fence).where(
    attempts.c.fence.in_(bindparam("fences", expanding=True)),
    attempts.c.state.not_in((*LIVE_ATTEMPTS, AttemptState.DONE)),
)


class Leftovers:
    """Looks at a page of each collection in each pass, from where the last pass ended."""

    def __init__(self, context: Context, size: int = PAGE) -> None:
        self._context = context
        self._page = size
        self._after: dict[str, tuple[str, str]] = dict.fromkeys(TABLES, ("", ""))

    async def sweep(self) -> Swept:
        """One pass. Raises StoreError."""
        swept = [await self._collection(name, table) for name, table in TABLES.items()]
        return Swept(
            sum(item.objects for item in swept), sum(item.uploads for item in swept), all(item.end for item in swept)
        )

    async def _collection(self, name: str, table: Table) -> Swept:
        store, prefix = self._context.store, f"{name}/"
        after_object, after_upload = self._after[name]
        stored = await asyncio.to_thread(page, store.list(prefix, after=after_object), self._page)
        begun = await asyncio.to_thread(page, store.list_uploads(prefix, after=after_upload), self._page)
        known = await self._known(table, [item.key for item in stored] + [item.key for item in begun])
        lost = [item.key for item in stored if item.key not in known and self._old(item.modified)]
        stale = [item for item in begun if item.key not in known and self._old(item.initiated)]
        await asyncio.to_thread(store.delete, lost)
        for upload in stale:
            await asyncio.to_thread(store.abort_multipart, upload.key, upload.upload_id)
        ends = tuple(items[-1].key if len(items) == self._page else "" for items in (stored, begun))
        self._after[name] = (ends[0], ends[1])
        return Swept(len(lost), len(stale), not any(ends))

    async def _known(self, table: Table, keys: Sequence[str]) -> set[str]:
        """Keys whose row is there, and whose attempt did not come to nothing."""
        fences = {key: int(found["fence"]) for key in keys if (found := _ATTEMPT.fullmatch(key))}
        async with self._context.database.read() as tx:
            rows = {row.id for row in await tx.all(select(table.c.id).where(table.c.id.in_({*map(_row_of, keys)})))}
            vain = await tx.all(_VAIN, {"fences": [*fences.values()]}) if fences else []
        nothing = {row.fence for row in vain}
        return {key for key in keys if _row_of(key) in rows and fences.get(key) not in nothing}

    def _old(self, since: datetime | None) -> bool:
        return outlived(self._context, since)


def _row_of(key: str) -> str:
    return key.split("/", 2)[1]
