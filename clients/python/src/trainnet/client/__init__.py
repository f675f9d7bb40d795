"""The Python client of TrainNet: typed, synchronous, with the contract's promises.

    from trainnet.client import Client

    with Client() as client:
        job = client.train("flowers.csv", "mlp", rounds=5).wait(progress=True)
        print(job.metrics["accuracy"], job.download("model"))

`trainnet.client.verify` recomputes a merged round; it needs numpy and is imported only when it is used.
"""

from trainnet.client._client import Architectures, Client, Workers
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
    VerifyUnavailable,
)
from trainnet.client._jobs import Job, Jobs, JobUpdate
from trainnet.client._models import (
    Architecture,
    Column,
    DatasetState,
    Hyperparameter,
    JobState,
    ManifestEntry,
    Progress,
    Round,
    RoundState,
    Schema,
    Worker,
)
from trainnet.client._rpc import Retry

__all__ = [
    "AlreadyExists",
    "Architecture",
    "Architectures",
    "Client",
    "Column",
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
    "ManifestEntry",
    "NotFound",
    "PermissionDenied",
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
    "VerifyUnavailable",
    "Worker",
    "Workers",
    "data_directory",
]
