"""gRPC server interceptors: log a call, translate its errors, validate its messages; in this order, outermost first."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import protovalidate
import structlog

from trainnet.runtime.errors import FieldViolation, InvalidArgument, TrainNetError, to_status

# Calls that fail this way are the server's fault or a sign of trouble; the other codes are part of normal life.
_TROUBLE = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE}
)

Behavior = Callable[[Any, Any], Any]
Around = Callable[[Behavior, Any, Any], Awaitable[Any]]


async def _run(behavior: Behavior, request: Any, context: Any) -> Any:
    """Runs any kind of servicer method. A generator is closed at once when the call ends, not by the collector."""
    result = behavior(request, context)
    if inspect.isasyncgen(result):
        async with aclosing(result) as messages:
            async for message in messages:
                await context.write(message)
        return None
    return await result


def _wrap(handler: Any, around: Around) -> Any:
    """The same handler with its behavior replaced by `around(behavior, request or request iterator, context)`."""
    kinds: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
    }
    attribute, factory = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
    behavior = getattr(handler, attribute)

    async def call(request: Any, context: Any) -> Any:
        return await around(behavior, request, context)

    return factory(
        call,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class _Interceptor(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:  # no such method: gRPC answers UNIMPLEMENTED
            return None
        method: str = details.method
        streaming = bool(handler.request_streaming)

        async def around(behavior: Behavior, request: Any, context: Any) -> Any:
            return await self.around(method, streaming, behavior, request, context)

        return _wrap(handler, around)

    @abstractmethod
    async def around(self, method: str, streaming: bool, behavior: Behavior, request: Any, context: Any) -> Any:
        """What is done about a call: runs `behavior` and answers what it does, or raises."""


def _single(error: BaseException) -> BaseException:
    """The one error inside nested groups: a servicer may run a TaskGroup, and its errors arrive wrapped."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class ErrorInterceptor(_Interceptor):
    """Turns a raised TrainNetError into its rich status, and anything unexpected into INTERNAL with an error id.

    The id is all that a caller learns of an unexpected error; the log has it with the traceback. CancelledError and
    a servicer's own `context.abort` pass untouched.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger(__name__)

    async def around(self, method: str, streaming: bool, behavior: Behavior, request: Any, context: Any) -> Any:
        try:
            return await _run(behavior, request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as raised:  # noqa: BLE001  # the one place that answers for all errors
            error = _single(raised)
            if isinstance(error, grpc.aio.AbortError):
                raise error from None
            if isinstance(error, asyncio.CancelledError):
                raise error from None
            if isinstance(error, TrainNetError):
                status = to_status(error)
            else:
                error_id = secrets.token_hex(6)
                self._log.error("unexpected error", method=method, error_id=error_id, exc_info=raised)
                status = to_status(_Internal(f"internal error {error_id}", metadata={"error_id": error_id}))
        return await context.abort_with_status(status)


class _Internal(TrainNetError):
    """Internal error."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"


class ValidationInterceptor(_Interceptor):
    """Checks the protovalidate rules of each request message, unary or streamed, before the servicer sees it.

    A servicer with a streamed request must take its messages from the iterator; `context.read()` is not checked.
    """

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    async def around(self, method: str, streaming: bool, behavior: Behavior, request: Any, context: Any) -> Any:
        if streaming:
            return await _run(behavior, self._each(request), context)
        self._check(request)
        return await _run(behavior, request, context)

    async def _each(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            self._check(message)
            yield message

    def _check(self, message: Any) -> None:
        found = self._validator.collect_violations(message)
        if found:
            violations = [
                FieldViolation(_path(item.proto.field), item.proto.message or item.proto.rule_id) for item in found
            ]
            text = "; ".join(
                f"{item.field}: {item.description}" if item.field else item.description for item in violations
            )
            raise InvalidArgument(text, violations=violations)


def _path(field: Any) -> str:
    """`shards[2].labels["x"]` from a buf.validate.FieldPath; empty for a rule on the whole message."""
    text = ""
    for element in field.elements if field is not None else ():
        text += f".{element.field_name}" if text else element.field_name
        subscript = element.subscript
        if subscript is not None:
            text += f'["{subscript.value}"]' if subscript.field == "string_key" else f"[{subscript.value}]"
    return text


class LoggingInterceptor(_Interceptor):
    """One debug line per call with its duration; a slow unary call at info, a troubled one at warning.

    Streams live as long as their peer wants, so they are never slow.
    """

    def __init__(self, *, slow_seconds: float = 1.0) -> None:
        self._slow = slow_seconds
        self._log = structlog.get_logger(__name__)

    async def around(self, method: str, streaming: bool, behavior: Behavior, request: Any, context: Any) -> Any:
        start = time.monotonic()
        wrote = False

        try:
            result = await _run(behavior, request, context)
            wrote = result is None
            return result
        except asyncio.CancelledError:
            self._log.debug("call cancelled", method=method, seconds=round(time.monotonic() - start, 4))
            raise
        finally:
            seconds = round(time.monotonic() - start, 4)
            code = _code(context)
            if code in _TROUBLE:
                self._log.warning("call failed", method=method, code=code.name, seconds=seconds)
            elif seconds >= self._slow and not streaming and not wrote:
                self._log.info("slow call", method=method, code=code.name, seconds=seconds)
            else:
                self._log.debug("call", method=method, code=code.name, seconds=seconds)


def _code(context: Any) -> grpc.StatusCode:
    """grpc.aio keeps the code as an int, 0 until one is set."""
    value = context.code()
    if isinstance(value, grpc.StatusCode):
        return value
    return next((code for code in grpc.StatusCode if code.value[0] == value), grpc.StatusCode.OK)


def standard() -> list[Any]:
    """The interceptors every server wants, in their right order; append a service's own (authentication) before
    validation by inserting at index 2."""
    return [LoggingInterceptor(), ErrorInterceptor(), ValidationInterceptor()]
