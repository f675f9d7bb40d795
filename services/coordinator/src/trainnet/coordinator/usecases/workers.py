"""Workers as identities: they join by a token, get one of their own, may be drained or banned."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, func, or_, select, update

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import LIVE_ATTEMPTS, Pool, TaskState
from trainnet.coordinator.domain.text import printable
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.events import timestamp
from trainnet.coordinator.storage.pages import page_of
from trainnet.coordinator.storage.schema import attempts, contributions, join_tokens, sessions, tasks, workers
from trainnet.coordinator.usecases.context import Context
from trainnet.coordinator.usecases.errors import NoSuchResource
from trainnet.runtime.errors import Unauthenticated
from trainnet.v1 import job_pb2, operator_pb2, worker_pb2


class BadJoinToken(Unauthenticated):
    """The join token is unknown, expired or used up; ask the operator for a new one."""

    reason = "BAD_JOIN_TOKEN"


@dataclass(frozen=True)
class Identity:
    """A worker that its token proved."""

    worker: str
    pool: Pool
    drained: bool
    banned: bool


def token_hash(token: str) -> str:
    """Tokens are random and long, so a plain hash is enough, and only hashes are kept."""
    return hashlib.sha256(token.encode()).hexdigest()


_UNWANTED = select(workers.c.id, workers.c.banned).where(
    workers.c.id.in_(bindparam("ids", expanding=True)), or_(workers.c.drained, workers.c.banned)
)


class Workers:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def register(self, request: worker_pb2.RegisterRequest) -> worker_pb2.RegisterResponse:
        """A worker for a join token; a repeat answers the same worker with a fresh token."""
        now, token = self._context.clock(), secrets.token_urlsafe(32)
        async with self._context.database.write() as tx:
            before = await tx.one(select(workers).where(workers.c.request_id == request.request_id))
            pool = await self._use(tx, request.join_token, now, spend=before is None)
            if before is not None:
                await tx.execute(update(workers).where(workers.c.id == before.id).values(token_hash=token_hash(token)))
                worker_id, pool = before.id, Pool(before.pool)
            else:
                worker_id = names.new_id(request.display_name)
                await tx.execute(
                    workers.insert().values(
                        id=worker_id,
                        request_id=request.request_id,
                        display_name=printable(request.display_name),
                        pool=pool,
                        token_hash=token_hash(token),
                        created=now,
                    )
                )
        return worker_pb2.RegisterResponse(worker=names.worker(worker_id), worker_token=token, pool=f"POOL_{pool}")

    async def _use(self, tx: Transaction, token: str, now: float, *, spend: bool) -> Pool:
        """The pool that a join token leads to. Raises BadJoinToken."""
        settled = self._context.settings.join_token
        if settled is not None and secrets.compare_digest(token.encode(), settled.get_secret_value().encode()):
            return Pool.TRUSTED
        row = await tx.one(select(join_tokens).where(join_tokens.c.token_hash == token_hash(token)).with_for_update())
        if row is None or (row.expires is not None and row.expires < now) or (spend and row.uses_left == 0):
            raise BadJoinToken
        if spend and row.uses_left is not None:
            await tx.execute(
                update(join_tokens)
                .where(join_tokens.c.token_hash == row.token_hash)
                .values(uses_left=row.uses_left - 1)
            )
        return Pool(row.pool)

    async def create_join_token(self, request: operator_pb2.CreateJoinTokenRequest) -> str:
        now, token = self._context.clock(), secrets.token_urlsafe(24)
        expires = now + request.ttl.ToTimedelta().total_seconds() if request.HasField("ttl") else None
        async with self._context.database.write() as tx:
            await tx.execute(
                join_tokens.insert().values(
                    token_hash=token_hash(token),
                    pool=job_pb2.Pool.Name(request.pool).removeprefix("POOL_"),
                    expires=expires,
                    uses_left=request.max_uses or None,
                    created=now,
                )
            )
        return token

    async def identify(self, token: str) -> Identity | None:
        """Whose token it is; banned workers are told apart, unknown tokens are None."""
        async with self._context.database.read() as tx:
            row = await tx.one(select(workers).where(workers.c.token_hash == token_hash(token)))
        return None if row is None else Identity(row.id, Pool(row.pool), row.drained, row.banned)

    async def describe(self, worker: str, version: str, capabilities: worker_pb2.Capabilities, *, paused: bool) -> None:
        """Keeps what a hello said of the machine."""
        shown = worker_pb2.Capabilities()
        shown.CopyFrom(capabilities)
        for name in ("device", "torch_version", "device_name"):
            setattr(shown, name, printable(getattr(capabilities, name)))
        values = {"version": printable(version), "capabilities": shown.SerializeToString(), "paused": paused}
        async with self._context.database.write() as tx:
            await tx.execute(update(workers).where(workers.c.id == worker).values(**values))

    async def pause(self, worker: str, *, paused: bool) -> None:
        async with self._context.database.write() as tx:
            await tx.execute(update(workers).where(workers.c.id == worker).values(paused=paused))

    async def drain(self, name: str, *, undo: bool) -> worker_pb2.Worker:
        async with self._context.database.write() as tx:
            await self._set(tx, name, drained=not undo)
        return await self.get(name)

    async def ban(self, name: str) -> worker_pb2.Worker:
        """Its token is void, and what it holds is taken back at once."""
        async with self._context.database.write() as tx:
            await self._set(tx, name, banned=True)
            await task_store.call_back(tx, names.id_of(name), self._context.clock(), "banned by the operator")
        return await self.get(name)

    async def unwanted(self, ids: Collection[str]) -> dict[str, bool]:
        """Those of the workers that are to get no work, and whether for good: banned and not only drained."""
        async with self._context.database.read() as tx:
            return {row.id: row.banned for row in await tx.all(_UNWANTED, {"ids": list(ids)})}

    async def _set(self, tx: Transaction, name: str, **values: bool) -> None:
        if not await tx.changed(update(workers).where(workers.c.id == names.id_of(name)).values(**values)):
            raise NoSuchResource(name)
        tx.effects.changed.add(name)

    async def get(self, name: str) -> worker_pb2.Worker:
        async with self._context.database.read() as tx:
            row = await tx.one(select(workers).where(workers.c.id == names.id_of(name)))
            if row is None:
                raise NoSuchResource(name)
            return (await self._views(tx, [row]))[0]

    async def page(self, page_size: int, page_token: str) -> tuple[list[worker_pb2.Worker], str]:
        async with self._context.database.read() as tx:
            rows, token = await page_of(tx, workers, page_size, page_token)
            return await self._views(tx, rows), token

    async def queues(self) -> list[operator_pb2.Queue]:
        """Open tasks by kind and state."""
        query = (
            select(tasks.c.kind, tasks.c.state, func.count().label("total"))
            .where(tasks.c.state.not_in((TaskState.DONE, TaskState.CANCELLED)))
            .group_by(tasks.c.kind, tasks.c.state)
            .order_by(tasks.c.kind, tasks.c.state)
        )
        async with self._context.database.read() as tx:
            return [
                operator_pb2.Queue(
                    kind=f"TASK_KIND_{row.kind}",
                    state=f"TASK_STATE_{row.state}",
                    tasks=row.total,
                )
                for row in await tx.all(query)
            ]

    async def _views(self, tx: Transaction, rows: list[Row[Any]]) -> list[worker_pb2.Worker]:
        ids = [row.id for row in rows]
        online = {row.worker: row for row in await tx.all(select(sessions).where(sessions.c.worker.in_(ids)))}
        earned = {
            row.worker: row
            for row in await tx.all(
                select(
                    contributions.c.worker,
                    func.count().label("updates"),
                    func.sum(contributions.c.examples).label("examples"),
                )
                .where(contributions.c.worker.in_(ids))
                .group_by(contributions.c.worker)
            )
        }
        held: dict[str, list[int]] = {}
        query = select(attempts.c.holder, attempts.c.fence).where(
            attempts.c.holder.in_(ids), attempts.c.state.in_(tuple(LIVE_ATTEMPTS))
        )
        for row in await tx.all(query):
            held.setdefault(row.holder, []).append(row.fence)
        views = []
        for row in rows:
            view = worker_pb2.Worker(
                name=names.worker(row.id),
                display_name=row.display_name,
                pool=f"POOL_{row.pool}",
                paused=row.paused or row.drained,
                banned=row.banned,
                version=row.version,
                fences=held.get(row.id, []),
                create_time=timestamp(row.created),
            )
            view.capabilities.ParseFromString(row.capabilities)
            if row.id in online:
                view.online = online[row.id].open
                view.seen_time.CopyFrom(timestamp(online[row.id].seen))
            if row.id in earned:
                view.accepted_updates = earned[row.id].updates
                view.accepted_examples = int(earned[row.id].examples)
            views.append(view)
        return views
