"""Errors that cross the wire.

    TrainNetError
    ├── NotFound            ├── PermissionDenied
    ├── InvalidArgument     ├── Unavailable
    ├── AlreadyExists       ├── Aborted
    ├── FailedPrecondition  └── ResourceExhausted
    └── Unauthenticated

A service subclasses these and gives each its `reason`. On the wire an error is a canonical code plus
`google.rpc.ErrorInfo` (AIP-193), so that programs branch on `reason` and people read the message.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "trainnet"

# Details travel in one HTTP/2 header and peers cap those at 8 KiB.
_MAX_VIOLATIONS = 20
_MAX_TEXT = 512


class TrainNetError(Exception):
    """The request failed."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: str = "UNKNOWN"

    def __init__(
        self, message: str | None = None, *, reason: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        self.message = message or (inspect.getdoc(type(self)) or "").partition("\n")[0]
        if reason is not None:
            self.reason = reason
        self.metadata = dict(metadata or {})
        super().__init__(self.message)


class NotFound(TrainNetError):
    """There is no such resource."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(TrainNetError):
    """The resource exists already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(TrainNetError):
    """The resource is not in a state that allows this."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Unauthenticated(TrainNetError):
    """The credentials are missing or not valid."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(TrainNetError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class Unavailable(TrainNetError):
    """The service cannot answer now; try again."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class Aborted(TrainNetError):
    """Someone else changed this at the same time; read it again and retry."""

    code = grpc.StatusCode.ABORTED
    reason = "ABORTED"


class ResourceExhausted(TrainNetError):
    """A limit is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class FieldViolation:
    """One bad field of a request: its path in protobuf names, and what is wrong with it."""

    field: str
    description: str


class InvalidArgument(TrainNetError):
    """The request is not valid."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        violations: Iterable[FieldViolation] = (),
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """`field` names the one bad field, described by the message; `violations` names several."""
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)
        if field is not None:
            self.violations = (FieldViolation(field, self.message), *self.violations)


def to_status(error: TrainNetError) -> Any:
    """The rich `grpc.Status` of an error: code, message, ErrorInfo, and BadRequest for an InvalidArgument."""
    details = [
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=DOMAIN,
            metadata={key: value[:_MAX_TEXT] for key, value in error.metadata.items()},
        )
    ]
    if isinstance(error, InvalidArgument) and error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=item.field[:_MAX_TEXT], description=item.description[:_MAX_TEXT]
                    )
                    for item in error.violations[:_MAX_VIOLATIONS]
                ]
            )
        )
    packed = []
    for detail in details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    code = code_pb2.Code.Value(error.code.name)
    return rpc_status.to_status(status_pb2.Status(code=code, message=error.message[: 4 * _MAX_TEXT], details=packed))


@dataclass(frozen=True)
class WireError:
    """What a caller sees of an error: `reason` is empty when the server sent no ErrorInfo."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()


def describe(error: grpc.RpcError) -> WireError:
    """Reads the rich details of a failed call (grpc or grpc.aio). Details that do not parse are left out."""
    code, message = error.code(), error.details() or ""
    reason, metadata, violations = "", {}, []
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key != "grpc-status-details-bin":
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:  # code and message still stand
            return WireError(code, message)
        for detail in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
                violations += [FieldViolation(item.field, item.description) for item in bad.field_violations]
    return WireError(code, message, reason, metadata, tuple(violations))
