from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from trainnet.v1 import artifact_pb2 as _artifact_pb2
from trainnet.v1 import codec_pb2 as _codec_pb2
from trainnet.v1 import dataset_pb2 as _dataset_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_KIND_UNSPECIFIED: _ClassVar[TaskKind]
    TASK_KIND_INSPECT: _ClassVar[TaskKind]
    TASK_KIND_PREPARE: _ClassVar[TaskKind]
    TASK_KIND_INITIALIZE: _ClassVar[TaskKind]
    TASK_KIND_TRAIN: _ClassVar[TaskKind]
    TASK_KIND_EVALUATE: _ClassVar[TaskKind]
    TASK_KIND_CHECK: _ClassVar[TaskKind]
    TASK_KIND_SUM: _ClassVar[TaskKind]
    TASK_KIND_MERGE: _ClassVar[TaskKind]
    TASK_KIND_EXPORT: _ClassVar[TaskKind]

class TaskState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATE_UNSPECIFIED: _ClassVar[TaskState]
    TASK_STATE_READY: _ClassVar[TaskState]
    TASK_STATE_ASSIGNED: _ClassVar[TaskState]
    TASK_STATE_LEASED: _ClassVar[TaskState]
    TASK_STATE_CHECKING: _ClassVar[TaskState]
    TASK_STATE_DONE: _ClassVar[TaskState]
    TASK_STATE_QUARANTINED: _ClassVar[TaskState]
    TASK_STATE_CANCELLED: _ClassVar[TaskState]

class TaskPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_PHASE_UNSPECIFIED: _ClassVar[TaskPhase]
    TASK_PHASE_DOWNLOADING: _ClassVar[TaskPhase]
    TASK_PHASE_LOADING: _ClassVar[TaskPhase]
    TASK_PHASE_RUNNING: _ClassVar[TaskPhase]
    TASK_PHASE_ENCODING: _ClassVar[TaskPhase]
    TASK_PHASE_UPLOADING: _ClassVar[TaskPhase]
TASK_KIND_UNSPECIFIED: TaskKind
TASK_KIND_INSPECT: TaskKind
TASK_KIND_PREPARE: TaskKind
TASK_KIND_INITIALIZE: TaskKind
TASK_KIND_TRAIN: TaskKind
TASK_KIND_EVALUATE: TaskKind
TASK_KIND_CHECK: TaskKind
TASK_KIND_SUM: TaskKind
TASK_KIND_MERGE: TaskKind
TASK_KIND_EXPORT: TaskKind
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_READY: TaskState
TASK_STATE_ASSIGNED: TaskState
TASK_STATE_LEASED: TaskState
TASK_STATE_CHECKING: TaskState
TASK_STATE_DONE: TaskState
TASK_STATE_QUARANTINED: TaskState
TASK_STATE_CANCELLED: TaskState
TASK_PHASE_UNSPECIFIED: TaskPhase
TASK_PHASE_DOWNLOADING: TaskPhase
TASK_PHASE_LOADING: TaskPhase
TASK_PHASE_RUNNING: TaskPhase
TASK_PHASE_ENCODING: TaskPhase
TASK_PHASE_UPLOADING: TaskPhase

class ModelSpec(_message.Message):
    __slots__ = ("architecture", "hyperparameters", "schema")
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    hyperparameters: _struct_pb2.Struct
    schema: _dataset_pb2.DataSchema
    def __init__(self, architecture: _Optional[str] = ..., hyperparameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., schema: _Optional[_Union[_dataset_pb2.DataSchema, _Mapping]] = ...) -> None: ...

class ModelParts(_message.Message):
    __slots__ = ("bundle", "frozen")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    bundle: _artifact_pb2.Artifact
    frozen: _artifact_pb2.Artifact
    def __init__(self, bundle: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., frozen: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ...) -> None: ...

class BaseModel(_message.Message):
    __slots__ = ("job", "model", "hub")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HUB_FIELD_NUMBER: _ClassVar[int]
    job: str
    model: str
    hub: str
    def __init__(self, job: _Optional[str] = ..., model: _Optional[str] = ..., hub: _Optional[str] = ...) -> None: ...

class InspectSpec(_message.Message):
    __slots__ = ("source", "format", "label_column", "reading")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    LABEL_COLUMN_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    source: _artifact_pb2.Artifact
    format: _dataset_pb2.DatasetFormat
    label_column: str
    reading: _dataset_pb2.DatasetReading
    def __init__(self, source: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., format: _Optional[_Union[_dataset_pb2.DatasetFormat, str]] = ..., label_column: _Optional[str] = ..., reading: _Optional[_Union[_dataset_pb2.DatasetReading, _Mapping]] = ...) -> None: ...

class PrepareSpec(_message.Message):
    __slots__ = ("source", "format", "schema", "plan")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    source: _artifact_pb2.Artifact
    format: _dataset_pb2.DatasetFormat
    schema: _dataset_pb2.DataSchema
    plan: _dataset_pb2.ShardPlan
    def __init__(self, source: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., format: _Optional[_Union[_dataset_pb2.DatasetFormat, str]] = ..., schema: _Optional[_Union[_dataset_pb2.DataSchema, _Mapping]] = ..., plan: _Optional[_Union[_dataset_pb2.ShardPlan, _Mapping]] = ...) -> None: ...

class InitializeSpec(_message.Message):
    __slots__ = ("model", "seed", "base", "base_weights", "base_parts", "base_spec", "sample")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    BASE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BASE_PARTS_FIELD_NUMBER: _ClassVar[int]
    BASE_SPEC_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    seed: int
    base: BaseModel
    base_weights: _artifact_pb2.Artifact
    base_parts: ModelParts
    base_spec: ModelSpec
    sample: _artifact_pb2.Artifact
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., seed: _Optional[int] = ..., base: _Optional[_Union[BaseModel, _Mapping]] = ..., base_weights: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., base_parts: _Optional[_Union[ModelParts, _Mapping]] = ..., base_spec: _Optional[_Union[ModelSpec, _Mapping]] = ..., sample: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ...) -> None: ...

class TrainSpec(_message.Message):
    __slots__ = ("model", "base", "shard", "epochs", "seed", "round", "shard_index", "local_steps", "rounds", "parts", "keep_optimizer", "previous_update", "codec")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SHARD_INDEX_FIELD_NUMBER: _ClassVar[int]
    LOCAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    KEEP_OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_UPDATE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    base: _artifact_pb2.Artifact
    shard: _artifact_pb2.Artifact
    epochs: int
    seed: int
    round: int
    shard_index: int
    local_steps: int
    rounds: int
    parts: ModelParts
    keep_optimizer: bool
    previous_update: str
    codec: _codec_pb2.Codec
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., base: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., shard: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., epochs: _Optional[int] = ..., seed: _Optional[int] = ..., round: _Optional[int] = ..., shard_index: _Optional[int] = ..., local_steps: _Optional[int] = ..., rounds: _Optional[int] = ..., parts: _Optional[_Union[ModelParts, _Mapping]] = ..., keep_optimizer: _Optional[bool] = ..., previous_update: _Optional[str] = ..., codec: _Optional[_Union[_codec_pb2.Codec, _Mapping]] = ...) -> None: ...

class EvaluateSpec(_message.Message):
    __slots__ = ("model", "weights", "holdout", "round", "parts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    weights: _artifact_pb2.Artifact
    holdout: _artifact_pb2.Artifact
    round: int
    parts: ModelParts
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., weights: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., holdout: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., round: _Optional[int] = ..., parts: _Optional[_Union[ModelParts, _Mapping]] = ...) -> None: ...

class RoundRecord(_message.Message):
    __slots__ = ("number", "metrics", "merged_sha256", "updates", "train_loss")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MERGED_SHA256_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    number: int
    metrics: _containers.ScalarMap[str, float]
    merged_sha256: str
    updates: _containers.RepeatedCompositeFieldContainer[UpdateRecord]
    train_loss: float
    def __init__(self, number: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., merged_sha256: _Optional[str] = ..., updates: _Optional[_Iterable[_Union[UpdateRecord, _Mapping]]] = ..., train_loss: _Optional[float] = ...) -> None: ...

class UpdateRecord(_message.Message):
    __slots__ = ("shard", "worker", "digest", "examples")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    shard: int
    worker: str
    digest: str
    examples: int
    def __init__(self, shard: _Optional[int] = ..., worker: _Optional[str] = ..., digest: _Optional[str] = ..., examples: _Optional[int] = ...) -> None: ...

class ExportSpec(_message.Message):
    __slots__ = ("model", "weights", "parts", "round", "display_name", "dataset_name", "plan", "shard_rows", "holdout_rows", "rounds", "confusion", "epochs", "local_steps", "base", "initial_digest", "merge", "codec", "participation")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DATASET_NAME_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SHARD_ROWS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_ROWS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PARTICIPATION_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    weights: _artifact_pb2.Artifact
    parts: ModelParts
    round: int
    display_name: str
    dataset_name: str
    plan: _dataset_pb2.ShardPlan
    shard_rows: _containers.RepeatedScalarFieldContainer[int]
    holdout_rows: int
    rounds: _containers.RepeatedCompositeFieldContainer[RoundRecord]
    confusion: Confusion
    epochs: int
    local_steps: int
    base: BaseModel
    initial_digest: str
    merge: str
    codec: str
    participation: str
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., weights: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., parts: _Optional[_Union[ModelParts, _Mapping]] = ..., round: _Optional[int] = ..., display_name: _Optional[str] = ..., dataset_name: _Optional[str] = ..., plan: _Optional[_Union[_dataset_pb2.ShardPlan, _Mapping]] = ..., shard_rows: _Optional[_Iterable[int]] = ..., holdout_rows: _Optional[int] = ..., rounds: _Optional[_Iterable[_Union[RoundRecord, _Mapping]]] = ..., confusion: _Optional[_Union[Confusion, _Mapping]] = ..., epochs: _Optional[int] = ..., local_steps: _Optional[int] = ..., base: _Optional[_Union[BaseModel, _Mapping]] = ..., initial_digest: _Optional[str] = ..., merge: _Optional[str] = ..., codec: _Optional[str] = ..., participation: _Optional[str] = ...) -> None: ...

class TaskSpec(_message.Message):
    __slots__ = ("job", "inspect", "prepare", "initialize", "train", "evaluate", "export")
    JOB_FIELD_NUMBER: _ClassVar[int]
    INSPECT_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    INITIALIZE_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    job: str
    inspect: InspectSpec
    prepare: PrepareSpec
    initialize: InitializeSpec
    train: TrainSpec
    evaluate: EvaluateSpec
    export: ExportSpec
    def __init__(self, job: _Optional[str] = ..., inspect: _Optional[_Union[InspectSpec, _Mapping]] = ..., prepare: _Optional[_Union[PrepareSpec, _Mapping]] = ..., initialize: _Optional[_Union[InitializeSpec, _Mapping]] = ..., train: _Optional[_Union[TrainSpec, _Mapping]] = ..., evaluate: _Optional[_Union[EvaluateSpec, _Mapping]] = ..., export: _Optional[_Union[ExportSpec, _Mapping]] = ...) -> None: ...

class InspectResult(_message.Message):
    __slots__ = ("schema", "profile")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    schema: _dataset_pb2.DataSchema
    profile: _dataset_pb2.DataProfile
    def __init__(self, schema: _Optional[_Union[_dataset_pb2.DataSchema, _Mapping]] = ..., profile: _Optional[_Union[_dataset_pb2.DataProfile, _Mapping]] = ...) -> None: ...

class PrepareResult(_message.Message):
    __slots__ = ("shard_rows", "holdout_rows")
    SHARD_ROWS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_ROWS_FIELD_NUMBER: _ClassVar[int]
    shard_rows: _containers.RepeatedScalarFieldContainer[int]
    holdout_rows: int
    def __init__(self, shard_rows: _Optional[_Iterable[int]] = ..., holdout_rows: _Optional[int] = ...) -> None: ...

class Confusion(_message.Message):
    __slots__ = ("classes", "counts")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedScalarFieldContainer[str]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, classes: _Optional[_Iterable[str]] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class EvaluateResult(_message.Message):
    __slots__ = ("confusion",)
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    confusion: Confusion
    def __init__(self, confusion: _Optional[_Union[Confusion, _Mapping]] = ...) -> None: ...

class InitializeResult(_message.Message):
    __slots__ = ("trainable_parameters", "parameters", "base_revision")
    TRAINABLE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    trainable_parameters: int
    parameters: int
    base_revision: str
    def __init__(self, trainable_parameters: _Optional[int] = ..., parameters: _Optional[int] = ..., base_revision: _Optional[str] = ...) -> None: ...

class TaskOutput(_message.Message):
    __slots__ = ("output", "digest")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    output: str
    digest: str
    def __init__(self, output: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("outputs", "inspect", "prepare", "evaluate", "initialize", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    INSPECT_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    INITIALIZE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[TaskOutput]
    inspect: InspectResult
    prepare: PrepareResult
    evaluate: EvaluateResult
    initialize: InitializeResult
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, outputs: _Optional[_Iterable[_Union[TaskOutput, _Mapping]]] = ..., inspect: _Optional[_Union[InspectResult, _Mapping]] = ..., prepare: _Optional[_Union[PrepareResult, _Mapping]] = ..., evaluate: _Optional[_Union[EvaluateResult, _Mapping]] = ..., initialize: _Optional[_Union[InitializeResult, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...
