"""States and kinds as they stand in the database; the names are the contract's without their prefix."""

from enum import IntEnum, StrEnum


class DatasetState(StrEnum):
    UPLOADING = "UPLOADING"
    PREPARING = "PREPARING"
    READY = "READY"
    FAILED = "FAILED"


class ModelState(StrEnum):
    """Of an uploaded model."""

    UPLOADING = "UPLOADING"
    READY = "READY"
    DELETING = "DELETING"


class PlanState(StrEnum):
    """A shard plan applied to a data set; shared by every job that asks for the same."""

    PREPARING = "PREPARING"
    READY = "READY"
    FAILED = "FAILED"


class JobState(StrEnum):
    PENDING = "PENDING"
    PREPARING = "PREPARING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


ENDED_JOBS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class RoundState(StrEnum):
    OPEN = "OPEN"
    MERGING = "MERGING"
    MERGED = "MERGED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TaskKind(StrEnum):
    INSPECT = "INSPECT"
    PREPARE = "PREPARE"
    INITIALIZE = "INITIALIZE"
    TRAIN = "TRAIN"
    EVALUATE = "EVALUATE"
    CHECK = "CHECK"
    SUM = "SUM"
    MERGE = "MERGE"
    EXPORT = "EXPORT"


AGGREGATOR_KINDS = frozenset({TaskKind.CHECK, TaskKind.SUM, TaskKind.MERGE})


class Priority(IntEnum):
    """Order in which ready tasks are given out: what unblocks a job first, evaluation in what is left over."""

    PREPARATION = 0
    TRAINING = 10
    EVALUATION = 20


class TaskState(StrEnum):
    READY = "READY"
    ASSIGNED = "ASSIGNED"
    LEASED = "LEASED"
    CHECKING = "CHECKING"
    DONE = "DONE"
    QUARANTINED = "QUARANTINED"
    CANCELLED = "CANCELLED"


ENDED_TASKS = frozenset({TaskState.DONE, TaskState.QUARANTINED, TaskState.CANCELLED})


class AttemptState(StrEnum):
    """An attempt is live while it may still decide its task; its fence is stale in every other state."""

    ASSIGNED = "ASSIGNED"
    LEASED = "LEASED"
    CHECKING = "CHECKING"
    DONE = "DONE"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    CANCELLED = "CANCELLED"


LIVE_ATTEMPTS = frozenset({AttemptState.ASSIGNED, AttemptState.LEASED, AttemptState.CHECKING})


class UpdateState(StrEnum):
    RECEIVED = "RECEIVED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class Pool(StrEnum):
    TRUSTED = "TRUSTED"
    PUBLIC = "PUBLIC"
