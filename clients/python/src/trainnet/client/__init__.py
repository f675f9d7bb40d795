"""The Python client of TrainNet: typed, synchronous, with the contract's promises.

    from trainnet.client import Client

    with Client() as client:
        job = client.train("flowers.csv", "mlp", rounds=5).wait(progress=True)
        print(job.metrics["accuracy"], job.download("model"))

`trainnet.client.verify` recomputes a merged round; it needs numpy and is imported only when it is used.

Names are imported when they are first used: a program that only parses its command line does not wait for gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainnet.client._architectures import (
        Architecture,
        Architectures,
        ArchitectureSize,
        Hyperparameter,
    )
    from trainnet.client._bases import Model, Models
    from trainnet.client._client import Client
    from trainnet.client._config import data_directory
    from trainnet.client._datasets import Dataset, Datasets, TransferProgress
    from trainnet.client._errors import (
        AlreadyExists,
        ConfigurationError,
        ConnectionFailed,
        DatasetFailed,
        DownloadCorrupt,
        DownloadFailed,
        FailedPrecondition,
        FieldViolation,
        InvalidArgument,
        InvalidFile,
        JobFailed,
        NotFound,
        PermissionDenied,
        RequestError,
        ServerError,
        TrainNetError,
        TransferError,
        Unauthenticated,
        UploadFailed,
        VerifyFailed,
        VerifyUnavailable,
    )
    from trainnet.client._hyperparameters import expected_value, parse_hyperparameters
    from trainnet.client._jobs import Job, Jobs, JobUpdate
    from trainnet.client._merging import parse_merge_settings
    from trainnet.client._models import (
        DatasetState,
        JobState,
        ManifestEntry,
        ModelState,
        Progress,
        Round,
        RoundState,
        Worker,
    )
    from trainnet.client._participation import parse_codec_settings, parse_duration
    from trainnet.client._profiles import Column, ColumnProfile, Profile, Schema
    from trainnet.client._report import LinePrinter, describe_away, describe_metrics
    from trainnet.client._rpc import Retry
    from trainnet.client._workers import Workers

__all__ = [
    "AlreadyExists",
    "Architecture",
    "ArchitectureSize",
    "Architectures",
    "Client",
    "Column",
    "ColumnProfile",
    "ConfigurationError",
    "ConnectionFailed",
    "Dataset",
    "DatasetFailed",
    "DatasetState",
    "Datasets",
    "DownloadCorrupt",
    "DownloadFailed",
    "FailedPrecondition",
    "FieldViolation",
    "Hyperparameter",
    "InvalidArgument",
    "InvalidFile",
    "Job",
    "JobFailed",
    "JobState",
    "JobUpdate",
    "Jobs",
    "LinePrinter",
    "ManifestEntry",
    "Model",
    "ModelState",
    "Models",
    "NotFound",
    "PermissionDenied",
    "Profile",
    "Progress",
    "RequestError",
    "Retry",
    "Round",
    "RoundState",
    "Schema",
    "ServerError",
    "TrainNetError",
    "TransferError",
    "TransferProgress",
    "Unauthenticated",
    "UploadFailed",
    "VerifyFailed",
    "VerifyUnavailable",
    "Worker",
    "Workers",
    "data_directory",
    "describe_away",
    "describe_metrics",
    "expected_value",
    "parse_codec_settings",
    "parse_duration",
    "parse_hyperparameters",
    "parse_merge_settings",
]

# Kept equal to the imports above by a test.
_HOMES = {
    "_architectures": (
        "Architecture",
        "ArchitectureSize",
        "Architectures",
        "Hyperparameter",
    ),
    "_bases": ("Model", "Models"),
    "_client": ("Client",),
    "_config": ("data_directory",),
    "_datasets": ("Dataset", "Datasets", "TransferProgress"),
    "_errors": (
        "AlreadyExists",
        "ConfigurationError",
        "ConnectionFailed",
        "DatasetFailed",
        "DownloadCorrupt",
        "DownloadFailed",
        "FailedPrecondition",
        "FieldViolation",
        "InvalidArgument",
        "InvalidFile",
        "JobFailed",
        "NotFound",
        "PermissionDenied",
        "RequestError",
        "ServerError",
        "TrainNetError",
        "TransferError",
        "Unauthenticated",
        "UploadFailed",
        "VerifyFailed",
        "VerifyUnavailable",
    ),
    "_hyperparameters": ("expected_value", "parse_hyperparameters"),
    "_jobs": ("Job", "Jobs", "JobUpdate"),
    "_merging": ("parse_merge_settings",),
    "_models": (
        "DatasetState",
        "JobState",
        "ManifestEntry",
        "ModelState",
        "Progress",
        "Round",
        "RoundState",
        "Worker",
    ),
    "_participation": ("parse_codec_settings", "parse_duration"),
    "_profiles": ("Column", "ColumnProfile", "Profile", "Schema"),
    "_report": ("LinePrinter", "describe_away", "describe_metrics"),
    "_rpc": ("Retry",),
    "_workers": ("Workers",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
