import datetime

from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trainnet.v1 import artifact_pb2 as _artifact_pb2
from trainnet.v1 import job_pb2 as _job_pb2
from trainnet.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAIL_REASON_UNSPECIFIED: _ClassVar[FailReason]
    FAIL_REASON_TASK: _ClassVar[FailReason]
    FAIL_REASON_WORKER: _ClassVar[FailReason]
    FAIL_REASON_RELEASED: _ClassVar[FailReason]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_RECEIVED: _ClassVar[Outcome]
    OUTCOME_ACCEPTED: _ClassVar[Outcome]
    OUTCOME_REJECTED: _ClassVar[Outcome]
    OUTCOME_STALE_FENCE: _ClassVar[Outcome]
    OUTCOME_DIGEST_MISMATCH: _ClassVar[Outcome]
    OUTCOME_INVALID: _ClassVar[Outcome]
    OUTCOME_RETURNED: _ClassVar[Outcome]
FAIL_REASON_UNSPECIFIED: FailReason
FAIL_REASON_TASK: FailReason
FAIL_REASON_WORKER: FailReason
FAIL_REASON_RELEASED: FailReason
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_RECEIVED: Outcome
OUTCOME_ACCEPTED: Outcome
OUTCOME_REJECTED: Outcome
OUTCOME_STALE_FENCE: Outcome
OUTCOME_DIGEST_MISMATCH: Outcome
OUTCOME_INVALID: Outcome
OUTCOME_RETURNED: Outcome

class Capabilities(_message.Message):
    __slots__ = ("slots", "device", "threads", "memory_bytes", "torch_version", "device_name", "architectures")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURES_FIELD_NUMBER: _ClassVar[int]
    slots: int
    device: str
    threads: int
    memory_bytes: int
    torch_version: str
    device_name: str
    architectures: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, slots: _Optional[int] = ..., device: _Optional[str] = ..., threads: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., torch_version: _Optional[str] = ..., device_name: _Optional[str] = ..., architectures: _Optional[_Iterable[str]] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("request_id", "join_token", "display_name")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    join_token: str
    display_name: str
    def __init__(self, request_id: _Optional[str] = ..., join_token: _Optional[str] = ..., display_name: _Optional[str] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("worker", "worker_token", "pool")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WORKER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    worker: str
    worker_token: str
    pool: _job_pb2.Pool
    def __init__(self, worker: _Optional[str] = ..., worker_token: _Optional[str] = ..., pool: _Optional[_Union[_job_pb2.Pool, str]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("name", "display_name", "pool", "online", "paused", "banned", "capabilities", "version", "fences", "accepted_updates", "accepted_examples", "create_time", "seen_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FENCES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_UPDATES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    pool: _job_pb2.Pool
    online: bool
    paused: bool
    banned: bool
    capabilities: Capabilities
    version: str
    fences: _containers.RepeatedScalarFieldContainer[int]
    accepted_updates: int
    accepted_examples: int
    create_time: _timestamp_pb2.Timestamp
    seen_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., pool: _Optional[_Union[_job_pb2.Pool, str]] = ..., online: _Optional[bool] = ..., paused: _Optional[bool] = ..., banned: _Optional[bool] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., version: _Optional[str] = ..., fences: _Optional[_Iterable[int]] = ..., accepted_updates: _Optional[int] = ..., accepted_examples: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("worker", "incarnation", "version", "capabilities", "state")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    worker: str
    incarnation: str
    version: str
    capabilities: Capabilities
    state: Heartbeat
    def __init__(self, worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., version: _Optional[str] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., state: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class HeldTask(_message.Message):
    __slots__ = ("fence", "phase")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    phase: _task_pb2.TaskPhase
    def __init__(self, fence: _Optional[int] = ..., phase: _Optional[_Union[_task_pb2.TaskPhase, str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("held", "paused", "cached", "cold_slots")
    HELD_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    COLD_SLOTS_FIELD_NUMBER: _ClassVar[int]
    held: _containers.RepeatedCompositeFieldContainer[HeldTask]
    paused: bool
    cached: _containers.RepeatedScalarFieldContainer[str]
    cold_slots: int
    def __init__(self, held: _Optional[_Iterable[_Union[HeldTask, _Mapping]]] = ..., paused: _Optional[bool] = ..., cached: _Optional[_Iterable[str]] = ..., cold_slots: _Optional[int] = ...) -> None: ...

class Accept(_message.Message):
    __slots__ = ("fence",)
    FENCE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    def __init__(self, fence: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("fence", "phase", "step", "total_steps", "loss", "samples_per_s")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_S_FIELD_NUMBER: _ClassVar[int]
    fence: int
    phase: _task_pb2.TaskPhase
    step: int
    total_steps: int
    loss: float
    samples_per_s: float
    def __init__(self, fence: _Optional[int] = ..., phase: _Optional[_Union[_task_pb2.TaskPhase, str]] = ..., step: _Optional[int] = ..., total_steps: _Optional[int] = ..., loss: _Optional[float] = ..., samples_per_s: _Optional[float] = ...) -> None: ...

class ArtifactRequest(_message.Message):
    __slots__ = ("fence",)
    FENCE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    def __init__(self, fence: _Optional[int] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("fence", "output", "declaration")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    fence: int
    output: str
    declaration: _artifact_pb2.UploadDeclaration
    def __init__(self, fence: _Optional[int] = ..., output: _Optional[str] = ..., declaration: _Optional[_Union[_artifact_pb2.UploadDeclaration, _Mapping]] = ...) -> None: ...

class Complete(_message.Message):
    __slots__ = ("fence", "result")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    fence: int
    result: _task_pb2.TaskResult
    def __init__(self, fence: _Optional[int] = ..., result: _Optional[_Union[_task_pb2.TaskResult, _Mapping]] = ...) -> None: ...

class Fail(_message.Message):
    __slots__ = ("fence", "reason", "message")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    reason: FailReason
    message: str
    def __init__(self, fence: _Optional[int] = ..., reason: _Optional[_Union[FailReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "heartbeat", "accept", "progress", "artifact_request", "upload_request", "complete", "fail")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_REQUEST_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    accept: Accept
    progress: Progress
    artifact_request: ArtifactRequest
    upload_request: UploadRequest
    complete: Complete
    fail: Fail
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., accept: _Optional[_Union[Accept, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., artifact_request: _Optional[_Union[ArtifactRequest, _Mapping]] = ..., upload_request: _Optional[_Union[UploadRequest, _Mapping]] = ..., complete: _Optional[_Union[Complete, _Mapping]] = ..., fail: _Optional[_Union[Fail, _Mapping]] = ...) -> None: ...

class NatsAccess(_message.Message):
    __slots__ = ("url", "subject", "inbox_prefix")
    URL_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    INBOX_PREFIX_FIELD_NUMBER: _ClassVar[int]
    url: str
    subject: str
    inbox_prefix: str
    def __init__(self, url: _Optional[str] = ..., subject: _Optional[str] = ..., inbox_prefix: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("epoch", "heartbeat_interval", "lease_ttl", "nats")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    NATS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    heartbeat_interval: _duration_pb2.Duration
    lease_ttl: _duration_pb2.Duration
    nats: NatsAccess
    def __init__(self, epoch: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., nats: _Optional[_Union[NatsAccess, _Mapping]] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("fence", "kind", "expire_time")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    fence: int
    kind: _task_pb2.TaskKind
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, fence: _Optional[int] = ..., kind: _Optional[_Union[_task_pb2.TaskKind, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DesiredState(_message.Message):
    __slots__ = ("leases", "assignments")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedScalarFieldContainer[int]
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    def __init__(self, leases: _Optional[_Iterable[int]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("fence", "spec", "kind", "ttl")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    fence: int
    spec: _task_pb2.TaskSpec
    kind: _task_pb2.TaskKind
    ttl: _duration_pb2.Duration
    def __init__(self, fence: _Optional[int] = ..., spec: _Optional[_Union[_task_pb2.TaskSpec, _Mapping]] = ..., kind: _Optional[_Union[_task_pb2.TaskKind, str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Artifacts(_message.Message):
    __slots__ = ("fence", "spec")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    fence: int
    spec: _task_pb2.TaskSpec
    def __init__(self, fence: _Optional[int] = ..., spec: _Optional[_Union[_task_pb2.TaskSpec, _Mapping]] = ...) -> None: ...

class UploadGranted(_message.Message):
    __slots__ = ("fence", "output", "grant")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    fence: int
    output: str
    grant: _artifact_pb2.UploadGrant
    def __init__(self, fence: _Optional[int] = ..., output: _Optional[str] = ..., grant: _Optional[_Union[_artifact_pb2.UploadGrant, _Mapping]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("fence", "outcome", "message")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    outcome: Outcome
    message: str
    def __init__(self, fence: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("fence", "reason")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    fence: int
    reason: str
    def __init__(self, fence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reconnect", "reason")
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    reconnect: bool
    reason: str
    def __init__(self, reconnect: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "desired_state", "lease", "artifacts", "upload_grant", "result", "cancel", "drain")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_GRANT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    desired_state: DesiredState
    lease: Lease
    artifacts: Artifacts
    upload_grant: UploadGranted
    result: Result
    cancel: Cancel
    drain: Drain
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., desired_state: _Optional[_Union[DesiredState, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., artifacts: _Optional[_Union[Artifacts, _Mapping]] = ..., upload_grant: _Optional[_Union[UploadGranted, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ...) -> None: ...
