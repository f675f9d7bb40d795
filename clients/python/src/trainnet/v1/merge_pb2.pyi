import datetime

from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from trainnet.v1 import artifact_pb2 as _artifact_pb2
from trainnet.v1 import codec_pb2 as _codec_pb2
from trainnet.v1 import job_pb2 as _job_pb2
from trainnet.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClaimRequest(_message.Message):
    __slots__ = ("aggregator", "kinds", "max_tasks", "wait")
    AGGREGATOR_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    MAX_TASKS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    aggregator: str
    kinds: _containers.RepeatedScalarFieldContainer[_task_pb2.TaskKind]
    max_tasks: int
    wait: _duration_pb2.Duration
    def __init__(self, aggregator: _Optional[str] = ..., kinds: _Optional[_Iterable[_Union[_task_pb2.TaskKind, str]]] = ..., max_tasks: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ClaimResponse(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[MergeTask]
    def __init__(self, tasks: _Optional[_Iterable[_Union[MergeTask, _Mapping]]] = ...) -> None: ...

class MergeTask(_message.Message):
    __slots__ = ("fence", "ttl", "round", "check", "sum", "merge")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    ttl: _duration_pb2.Duration
    round: str
    check: CheckWork
    sum: SumWork
    merge: MergeWork
    def __init__(self, fence: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., round: _Optional[str] = ..., check: _Optional[_Union[CheckWork, _Mapping]] = ..., sum: _Optional[_Union[SumWork, _Mapping]] = ..., merge: _Optional[_Union[MergeWork, _Mapping]] = ...) -> None: ...

class CheckWork(_message.Message):
    __slots__ = ("update", "base", "max_update_norm", "codec")
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    MAX_UPDATE_NORM_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    update: _artifact_pb2.Artifact
    base: _artifact_pb2.Artifact
    max_update_norm: float
    codec: _codec_pb2.Codec
    def __init__(self, update: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., base: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., max_update_norm: _Optional[float] = ..., codec: _Optional[_Union[_codec_pb2.Codec, _Mapping]] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("shard", "update", "weight", "norm")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    shard: int
    update: _artifact_pb2.Artifact
    weight: float
    norm: float
    def __init__(self, shard: _Optional[int] = ..., update: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., weight: _Optional[float] = ..., norm: _Optional[float] = ...) -> None: ...

class SumWork(_message.Message):
    __slots__ = ("group", "terms", "base", "key", "codec")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    group: int
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    base: _artifact_pb2.Artifact
    key: str
    codec: _codec_pb2.Codec
    def __init__(self, group: _Optional[int] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., base: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., key: _Optional[str] = ..., codec: _Optional[_Union[_codec_pb2.Codec, _Mapping]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("group", "terms", "partial_key")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_KEY_FIELD_NUMBER: _ClassVar[int]
    group: int
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    partial_key: str
    def __init__(self, group: _Optional[int] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., partial_key: _Optional[str] = ...) -> None: ...

class MergeWork(_message.Message):
    __slots__ = ("groups", "base", "policy", "key", "optimizer_state", "optimizer_key", "weighings", "codec", "copy_key")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_STATE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_KEY_FIELD_NUMBER: _ClassVar[int]
    WEIGHINGS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    COPY_KEY_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    base: _artifact_pb2.Artifact
    policy: _job_pb2.MergePolicy
    key: str
    optimizer_state: _artifact_pb2.Artifact
    optimizer_key: str
    weighings: _containers.RepeatedCompositeFieldContainer[_job_pb2.Weighing]
    codec: _codec_pb2.Codec
    copy_key: str
    def __init__(self, groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., base: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., policy: _Optional[_Union[_job_pb2.MergePolicy, _Mapping]] = ..., key: _Optional[str] = ..., optimizer_state: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., optimizer_key: _Optional[str] = ..., weighings: _Optional[_Iterable[_Union[_job_pb2.Weighing, _Mapping]]] = ..., codec: _Optional[_Union[_codec_pb2.Codec, _Mapping]] = ..., copy_key: _Optional[str] = ...) -> None: ...

class RenewClaimsRequest(_message.Message):
    __slots__ = ("fences",)
    FENCES_FIELD_NUMBER: _ClassVar[int]
    fences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fences: _Optional[_Iterable[int]] = ...) -> None: ...

class RenewClaimsResponse(_message.Message):
    __slots__ = ("live",)
    LIVE_FIELD_NUMBER: _ClassVar[int]
    live: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, live: _Optional[_Iterable[int]] = ...) -> None: ...

class ReportCheckRequest(_message.Message):
    __slots__ = ("fence", "accepted", "reason", "message", "norm")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    fence: int
    accepted: bool
    reason: str
    message: str
    norm: float
    def __init__(self, fence: _Optional[int] = ..., accepted: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., norm: _Optional[float] = ...) -> None: ...

class ReportCheckResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportSumRequest(_message.Message):
    __slots__ = ("fence", "key", "size_bytes")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    fence: int
    key: str
    size_bytes: int
    def __init__(self, fence: _Optional[int] = ..., key: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class ReportSumResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportMergeRequest(_message.Message):
    __slots__ = ("fence", "merged", "sha256", "timings", "optimizer_state", "optimizer_state_sha256", "copy", "copy_sha256")
    class TimingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    FENCE_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_STATE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_STATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    COPY_SHA256_FIELD_NUMBER: _ClassVar[int]
    fence: int
    merged: _artifact_pb2.Artifact
    sha256: str
    timings: _containers.ScalarMap[str, float]
    optimizer_state: _artifact_pb2.Artifact
    optimizer_state_sha256: str
    copy: _artifact_pb2.Artifact
    copy_sha256: str
    def __init__(self, fence: _Optional[int] = ..., merged: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., sha256: _Optional[str] = ..., timings: _Optional[_Mapping[str, float]] = ..., optimizer_state: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., optimizer_state_sha256: _Optional[str] = ..., copy: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., copy_sha256: _Optional[str] = ...) -> None: ...

class ReportMergeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportWeighingsRequest(_message.Message):
    __slots__ = ("fence", "weighings")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHINGS_FIELD_NUMBER: _ClassVar[int]
    fence: int
    weighings: _containers.RepeatedCompositeFieldContainer[_job_pb2.Weighing]
    def __init__(self, fence: _Optional[int] = ..., weighings: _Optional[_Iterable[_Union[_job_pb2.Weighing, _Mapping]]] = ...) -> None: ...

class ReportWeighingsResponse(_message.Message):
    __slots__ = ("weighings",)
    WEIGHINGS_FIELD_NUMBER: _ClassVar[int]
    weighings: _containers.RepeatedCompositeFieldContainer[_job_pb2.Weighing]
    def __init__(self, weighings: _Optional[_Iterable[_Union[_job_pb2.Weighing, _Mapping]]] = ...) -> None: ...

class ReportFailureRequest(_message.Message):
    __slots__ = ("fence", "message")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    message: str
    def __init__(self, fence: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class ReportFailureResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
