"""Calls whose transaction met another one are made again here: handlers are idempotent, and each is one transaction.

Without this a caller would hear UNAVAILABLE of something that is over a millisecond later.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from trainnet.coordinator.storage.database import Conflict, MadeAlready

T = TypeVar("T")

TRIES = 5
PAUSE_SECONDS = 0.02


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` answers, made again while it ends in a Conflict or in MadeAlready, after which it finds what is
    there; the last one is the caller's."""
    for attempt in range(1, TRIES):
        try:
            return await call()
        except (Conflict, MadeAlready):
            await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))
    return await call()


class RetryInterceptor(grpc.aio.ServerInterceptor):
    """Around unary calls. Streams have messages of their own to make again: the session does."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        behavior = handler.unary_unary

        async def again(request: Any, context: Any) -> Any:
            return await retried(lambda: behavior(request, context))

        return grpc.unary_unary_rpc_method_handler(again, handler.request_deserializer, handler.response_serializer)
