"""Turns a failed call into the client's error tree."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from trainnet.client._errors import (
    AlreadyExists,
    ConnectionFailed,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RequestError,
    ServerError,
    TrainNetError,
    Unauthenticated,
)

_KINDS: dict[grpc.StatusCode, type[RequestError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}

_HINTS: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.NOT_FOUND: "check the name: `trainnet jobs list`, `datasets list`, `models list` show them all",
    grpc.StatusCode.UNAUTHENTICATED: "give the right token with --token or TRAINNET_TOKEN",
    grpc.StatusCode.PERMISSION_DENIED: "use a token that may do this",
    grpc.StatusCode.UNIMPLEMENTED: "client and coordinator differ in version: upgrade the older one",
}

# The peer died or went away in mid-call. A server that stops cancels what is left of its calls.
_BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


def translate(error: grpc.RpcError, address: str) -> TrainNetError:
    """The error of the tree for a failed call to `address`; ConnectionFailed exactly when a retry may help."""
    code: grpc.StatusCode = error.code()
    text: str = error.details() or ""
    info, violations = _details(error)
    if code in _BROKEN or (code is grpc.StatusCode.UNKNOWN and text == "Stream removed"):
        return ConnectionFailed(
            _unreachable(code, text, info, address), hint="check the address, and that the coordinator runs"
        )
    hint = _HINTS.get(code, "")
    message = _one_line(text) or code.name.replace("_", " ").lower()
    facts = {"hint": hint, "code": code.name, "reason": info.reason, "metadata": dict(info.metadata)}
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        return InvalidArgument(_named(message, violations), violations=violations, **facts)
    return _KINDS.get(code, ServerError)(message, **facts)


def _unreachable(code: grpc.StatusCode, text: str, info: error_details_pb2.ErrorInfo, address: str) -> str:
    if info.reason:  # our own server said so
        return f"{address} cannot answer now: {_one_line(text)}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address} did not answer in time"
    return f"cannot reach the coordinator at {address}"


def _details(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo, tuple[FieldViolation, ...]]:
    info = error_details_pb2.ErrorInfo()
    violations: list[FieldViolation] = []
    trailing: Iterable[tuple[str, bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in trailing:
        if key != "grpc-status-details-bin":
            continue
        try:
            details = status_pb2.Status.FromString(value).details
        except DecodeError:  # code and message still stand
            continue
        for detail in details:
            bad = error_details_pb2.BadRequest()
            if detail.Is(info.DESCRIPTOR):
                detail.Unpack(info)
            elif detail.Is(bad.DESCRIPTOR):
                detail.Unpack(bad)
                violations += [FieldViolation(item.field, item.description) for item in bad.field_violations]
    return info, tuple(violations)


def _named(message: str, violations: tuple[FieldViolation, ...]) -> str:
    """The message, with the first bad field in front unless it is named already."""
    if not violations or not violations[0].field or violations[0].field.rpartition(".")[2] in message:
        return message
    return f"{violations[0].field}: {message}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
