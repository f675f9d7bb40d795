import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trainnet.v1 import dataset_pb2 as _dataset_pb2
from trainnet.v1 import job_pb2 as _job_pb2
from trainnet.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskAssigned(_message.Message):
    __slots__ = ("worker", "fence", "kind", "job", "round", "shard", "expire_time")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    worker: str
    fence: int
    kind: _task_pb2.TaskKind
    job: str
    round: int
    shard: int
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, worker: _Optional[str] = ..., fence: _Optional[int] = ..., kind: _Optional[_Union[_task_pb2.TaskKind, str]] = ..., job: _Optional[str] = ..., round: _Optional[int] = ..., shard: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class JobChanged(_message.Message):
    __slots__ = ("job", "state", "message")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _job_pb2.JobState
    message: str
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., message: _Optional[str] = ...) -> None: ...

class DatasetChanged(_message.Message):
    __slots__ = ("dataset", "state")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    state: _dataset_pb2.DatasetState
    def __init__(self, dataset: _Optional[str] = ..., state: _Optional[_Union[_dataset_pb2.DatasetState, str]] = ...) -> None: ...

class RoundOpened(_message.Message):
    __slots__ = ("round", "shards")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    round: str
    shards: int
    def __init__(self, round: _Optional[str] = ..., shards: _Optional[int] = ...) -> None: ...

class ShardAcknowledged(_message.Message):
    __slots__ = ("round", "shard", "fence", "worker", "digest", "examples")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    round: str
    shard: int
    fence: int
    worker: str
    digest: str
    examples: int
    def __init__(self, round: _Optional[str] = ..., shard: _Optional[int] = ..., fence: _Optional[int] = ..., worker: _Optional[str] = ..., digest: _Optional[str] = ..., examples: _Optional[int] = ...) -> None: ...

class UpdateRejected(_message.Message):
    __slots__ = ("round", "shard", "fence", "worker", "reason")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    round: str
    shard: int
    fence: int
    worker: str
    reason: str
    def __init__(self, round: _Optional[str] = ..., shard: _Optional[int] = ..., fence: _Optional[int] = ..., worker: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RoundClosed(_message.Message):
    __slots__ = ("round", "decision")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    round: str
    decision: str
    def __init__(self, round: _Optional[str] = ..., decision: _Optional[str] = ...) -> None: ...

class RoundMerged(_message.Message):
    __slots__ = ("round", "merged_sha256", "decision")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MERGED_SHA256_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    round: str
    merged_sha256: str
    decision: str
    def __init__(self, round: _Optional[str] = ..., merged_sha256: _Optional[str] = ..., decision: _Optional[str] = ...) -> None: ...

class RoundEvaluated(_message.Message):
    __slots__ = ("round", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ROUND_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    round: str
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, round: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "time", "job_changed", "dataset_changed", "round_opened", "shard_acknowledged", "update_rejected", "round_closed", "round_merged", "round_evaluated")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    JOB_CHANGED_FIELD_NUMBER: _ClassVar[int]
    DATASET_CHANGED_FIELD_NUMBER: _ClassVar[int]
    ROUND_OPENED_FIELD_NUMBER: _ClassVar[int]
    SHARD_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    UPDATE_REJECTED_FIELD_NUMBER: _ClassVar[int]
    ROUND_CLOSED_FIELD_NUMBER: _ClassVar[int]
    ROUND_MERGED_FIELD_NUMBER: _ClassVar[int]
    ROUND_EVALUATED_FIELD_NUMBER: _ClassVar[int]
    id: str
    time: _timestamp_pb2.Timestamp
    job_changed: JobChanged
    dataset_changed: DatasetChanged
    round_opened: RoundOpened
    shard_acknowledged: ShardAcknowledged
    update_rejected: UpdateRejected
    round_closed: RoundClosed
    round_merged: RoundMerged
    round_evaluated: RoundEvaluated
    def __init__(self, id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., job_changed: _Optional[_Union[JobChanged, _Mapping]] = ..., dataset_changed: _Optional[_Union[DatasetChanged, _Mapping]] = ..., round_opened: _Optional[_Union[RoundOpened, _Mapping]] = ..., shard_acknowledged: _Optional[_Union[ShardAcknowledged, _Mapping]] = ..., update_rejected: _Optional[_Union[UpdateRejected, _Mapping]] = ..., round_closed: _Optional[_Union[RoundClosed, _Mapping]] = ..., round_merged: _Optional[_Union[RoundMerged, _Mapping]] = ..., round_evaluated: _Optional[_Union[RoundEvaluated, _Mapping]] = ...) -> None: ...

class Withdrawn(_message.Message):
    __slots__ = ("worker", "fence", "reason")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    worker: str
    fence: int
    reason: str
    def __init__(self, worker: _Optional[str] = ..., fence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("worker", "fence", "accepted", "message")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    worker: str
    fence: int
    accepted: bool
    message: str
    def __init__(self, worker: _Optional[str] = ..., fence: _Optional[int] = ..., accepted: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class ReplicaWake(_message.Message):
    __slots__ = ("sender", "workers_wanted", "aggregators_wanted", "changed", "withdrawn", "verdicts")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    WORKERS_WANTED_FIELD_NUMBER: _ClassVar[int]
    AGGREGATORS_WANTED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    sender: str
    workers_wanted: bool
    aggregators_wanted: bool
    changed: _containers.RepeatedScalarFieldContainer[str]
    withdrawn: _containers.RepeatedCompositeFieldContainer[Withdrawn]
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    def __init__(self, sender: _Optional[str] = ..., workers_wanted: _Optional[bool] = ..., aggregators_wanted: _Optional[bool] = ..., changed: _Optional[_Iterable[str]] = ..., withdrawn: _Optional[_Iterable[_Union[Withdrawn, _Mapping]]] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ...) -> None: ...
