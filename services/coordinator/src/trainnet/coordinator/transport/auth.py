"""Who is calling, and who may call what: one table."""

import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import grpc

from trainnet.coordinator.settings import CoordinatorSettings
from trainnet.coordinator.usecases.workers import Identity, Workers
from trainnet.runtime.errors import PermissionDenied, TrainNetError, Unauthenticated, to_status


class Role(Enum):
    ADMIN = auto()
    AGGREGATOR = auto()
    WORKER = auto()


@dataclass(frozen=True)
class Caller:
    role: Role
    worker: Identity | None = None


class NoToken(Unauthenticated):
    """The call carries no token; send `authorization: Bearer TOKEN`."""

    reason = "NO_TOKEN"


class UnknownToken(Unauthenticated):
    """The token is not known here; check that it belongs to this server."""

    reason = "UNKNOWN_TOKEN"


class NotAllowed(PermissionDenied):
    """This token may not do that."""

    reason = "NOT_ALLOWED"


class Banned(PermissionDenied):
    """The operator banned this worker."""

    reason = "BANNED"


OWNERS = frozenset({Role.ADMIN})
"""Who may call what. A service that stands here alone has the same callers for all its methods; a method that is
missing altogether is refused. `None` means everybody: registration proves itself by its join token, and health and
reflection tell nothing that the published contract does not."""
ALLOWED: dict[str, frozenset[Role] | None] = {
    "trainnet.v1.DatasetService": OWNERS,
    "trainnet.v1.CatalogService": OWNERS,
    "trainnet.v1.JobService": OWNERS,
    "trainnet.v1.ModelService": OWNERS,
    "trainnet.v1.OperatorService": OWNERS,
    "trainnet.v1.MergeService": frozenset({Role.AGGREGATOR}),
    "trainnet.v1.WorkerService/Connect": frozenset({Role.WORKER}),
    "trainnet.v1.WorkerService/Register": None,
    "grpc.health.v1.Health": None,
    "grpc.reflection.v1alpha.ServerReflection": None,
}

_caller: ContextVar[Caller] = ContextVar("caller")


def calling_worker() -> Identity:
    """The worker behind the current call of a method that only workers may call."""
    worker = _caller.get().worker
    if worker is None:
        raise NotAllowed
    return worker


def allowed(method: str) -> frozenset[Role] | None:
    """Roles for `/service/Method`; nobody for what the table does not know."""
    path = method.lstrip("/")
    service = path.partition("/")[0]
    if path in ALLOWED:
        return ALLOWED[path]
    return ALLOWED.get(service, frozenset())


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Refuses a call before its handler runs."""

    def __init__(self, settings: CoordinatorSettings, workers: Workers) -> None:
        self._admin = settings.admin_token.get_secret_value()
        self._aggregator = settings.aggregator_token.get_secret_value()
        self._workers = workers

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        roles = allowed(handler_call_details.method)
        if roles is None:
            return await continuation(handler_call_details)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        try:
            caller = await self._identify(dict(handler_call_details.invocation_metadata or ()))
            if caller.role not in roles:
                raise NotAllowed
        except TrainNetError as error:
            return _refusal(handler, error)
        # Each call has a context of its own, which the handler runs in.
        _caller.set(caller)
        return handler

    async def _identify(self, metadata: dict[str, Any]) -> Caller:
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NoToken
        if secrets.compare_digest(token.encode(), self._admin.encode()):
            return Caller(Role.ADMIN)
        if secrets.compare_digest(token.encode(), self._aggregator.encode()):
            return Caller(Role.AGGREGATOR)
        worker = await self._workers.identify(token)
        if worker is None:
            raise UnknownToken
        if worker.banned:
            raise Banned
        return Caller(Role.WORKER, worker)


def _refusal(handler: Any, error: TrainNetError) -> Any:
    """A handler of the same kind that only answers the error."""

    async def refuse(_: Any, context: Any) -> None:
        await context.abort_with_status(to_status(error))

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(refuse, handler.request_deserializer, handler.response_serializer)
