"""What can go wrong, as one tree.

    TrainNetError
    ├── ConfigurationError          no address, or one that is not an address
    ├── ConnectionFailed            the coordinator did not answer within the retry budget
    ├── RequestError                the coordinator answered, and the answer is no
    │   ├── InvalidArgument         a field of the request is wrong: `field`, `violations`
    │   ├── NotFound
    │   ├── AlreadyExists
    │   ├── FailedPrecondition      the state does not allow it: `reason` says which rule
    │   ├── Unauthenticated
    │   ├── PermissionDenied
    │   └── ServerError             a fault of the server; its log has `metadata["error_id"]`
    ├── InvalidFile                 a local file is not what it claims to be: `path`
    ├── TransferError               bytes did not get through
    │   ├── UploadFailed
    │   └── DownloadFailed
    │       └── DownloadCorrupt     they did, but they are not the promised ones
    ├── DatasetFailed               the data set cannot be used: `dataset`, `message`
    ├── JobFailed                   the job ended without success: `job`, `state`
    ├── VerifyUnavailable           a round cannot be recomputed: not merged yet, or collected already
    └── VerifyFailed                a recompute broke off: its inputs cannot be read, or make no sense

`str(error)` is one line that says what is wrong; `hint` says what to do about it, or is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class TrainNetError(Exception):
    """Root of everything that the client raises on purpose."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigurationError(TrainNetError):
    """There is no usable address of a coordinator."""


class ConnectionFailed(TrainNetError):
    """The coordinator did not answer within the retry budget."""


@dataclass(frozen=True)
class FieldViolation:
    """One bad field of a request, by its path in the contract, and what is wrong with it."""

    field: str
    description: str


class RequestError(TrainNetError):
    """The coordinator refused a request.

    `code` is the canonical code in capitals, `reason` the machine-readable cause (empty when the server gave none),
    `metadata` its facts.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "UNKNOWN",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})


class InvalidArgument(RequestError):
    """A field has a value that it cannot have; `field` names the first one, or is empty."""

    def __init__(self, message: str, *, violations: tuple[FieldViolation, ...] = (), **facts: Any) -> None:
        facts.setdefault("code", "INVALID_ARGUMENT")
        super().__init__(message, **facts)
        self.violations = violations

    @property
    def field(self) -> str:
        """Path of the first bad field, for example `spec.rounds`."""
        return self.violations[0].field if self.violations else ""


class NotFound(RequestError):
    """There is no resource of that name."""


class AlreadyExists(RequestError):
    """The request_id was used for something else."""


class FailedPrecondition(RequestError):
    """The resource is in a state that does not allow this."""


class Unauthenticated(RequestError):
    """The token is missing or not valid."""


class PermissionDenied(RequestError):
    """The token does not allow this."""


class ServerError(RequestError):
    """The server failed in a way that is no fault of the request."""


class InvalidFile(TrainNetError):
    """A local file cannot be read or is not what it claims to be."""

    def __init__(self, path: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {message}", hint=hint)
        self.path = path


class TransferError(TrainNetError):
    """Bytes did not get from or to the object store."""


class UploadFailed(TransferError):
    """An upload was given up; uploading the same file again resumes it."""


class DownloadFailed(TransferError):
    """A download was given up; what came so far is kept beside the target and resumed."""


class DownloadCorrupt(DownloadFailed):
    """The bytes came whole, twice, and both times their digest was not the promised one."""


class DatasetFailed(TrainNetError):
    """A data set cannot be used."""

    def __init__(self, dataset: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{dataset}: {message}", hint=hint)
        self.dataset = dataset


class JobFailed(TrainNetError):
    """A job ended FAILED or CANCELLED."""

    def __init__(self, job: str, state: str, message: str) -> None:
        super().__init__(f"{job} {state}" + (f": {message}" if message else ""))
        self.job = job
        self.state = state


class VerifyUnavailable(TrainNetError):
    """What a recompute needs was never there or is collected by now."""


class VerifyFailed(TrainNetError):
    """A recompute broke off; this says nothing about the merge."""
