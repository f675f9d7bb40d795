import datetime

from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trainnet.v1 import artifact_pb2 as _artifact_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DatasetFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_FORMAT_UNSPECIFIED: _ClassVar[DatasetFormat]
    DATASET_FORMAT_CSV: _ClassVar[DatasetFormat]
    DATASET_FORMAT_PARQUET: _ClassVar[DatasetFormat]
    DATASET_FORMAT_JSON: _ClassVar[DatasetFormat]
    DATASET_FORMAT_JSONL: _ClassVar[DatasetFormat]
    DATASET_FORMAT_ZIP: _ClassVar[DatasetFormat]
    DATASET_FORMAT_TEXT: _ClassVar[DatasetFormat]

class DatasetState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_STATE_UNSPECIFIED: _ClassVar[DatasetState]
    DATASET_STATE_UPLOADING: _ClassVar[DatasetState]
    DATASET_STATE_PREPARING: _ClassVar[DatasetState]
    DATASET_STATE_READY: _ClassVar[DatasetState]
    DATASET_STATE_FAILED: _ClassVar[DatasetState]

class ColumnKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLUMN_KIND_UNSPECIFIED: _ClassVar[ColumnKind]
    COLUMN_KIND_NUMERIC: _ClassVar[ColumnKind]
    COLUMN_KIND_CATEGORICAL: _ClassVar[ColumnKind]
    COLUMN_KIND_IMAGE: _ClassVar[ColumnKind]
    COLUMN_KIND_TEXT: _ClassVar[ColumnKind]
    COLUMN_KIND_IGNORED: _ClassVar[ColumnKind]
    COLUMN_KIND_AUDIO: _ClassVar[ColumnKind]

class ShardKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARD_KIND_UNSPECIFIED: _ClassVar[ShardKind]
    SHARD_KIND_IID: _ClassVar[ShardKind]
    SHARD_KIND_STRATIFIED: _ClassVar[ShardKind]
    SHARD_KIND_DIRICHLET: _ClassVar[ShardKind]
DATASET_FORMAT_UNSPECIFIED: DatasetFormat
DATASET_FORMAT_CSV: DatasetFormat
DATASET_FORMAT_PARQUET: DatasetFormat
DATASET_FORMAT_JSON: DatasetFormat
DATASET_FORMAT_JSONL: DatasetFormat
DATASET_FORMAT_ZIP: DatasetFormat
DATASET_FORMAT_TEXT: DatasetFormat
DATASET_STATE_UNSPECIFIED: DatasetState
DATASET_STATE_UPLOADING: DatasetState
DATASET_STATE_PREPARING: DatasetState
DATASET_STATE_READY: DatasetState
DATASET_STATE_FAILED: DatasetState
COLUMN_KIND_UNSPECIFIED: ColumnKind
COLUMN_KIND_NUMERIC: ColumnKind
COLUMN_KIND_CATEGORICAL: ColumnKind
COLUMN_KIND_IMAGE: ColumnKind
COLUMN_KIND_TEXT: ColumnKind
COLUMN_KIND_IGNORED: ColumnKind
COLUMN_KIND_AUDIO: ColumnKind
SHARD_KIND_UNSPECIFIED: ShardKind
SHARD_KIND_IID: ShardKind
SHARD_KIND_STRATIFIED: ShardKind
SHARD_KIND_DIRICHLET: ShardKind

class Column(_message.Message):
    __slots__ = ("name", "kind", "missing", "mean", "deviation", "categories")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: ColumnKind
    missing: int
    mean: float
    deviation: float
    categories: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[ColumnKind, str]] = ..., missing: _Optional[int] = ..., mean: _Optional[float] = ..., deviation: _Optional[float] = ..., categories: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageShape(_message.Message):
    __slots__ = ("height", "width", "channels")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    channels: int
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class LabelClass(_message.Message):
    __slots__ = ("name", "rows")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: int
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[int] = ...) -> None: ...

class DataSchema(_message.Message):
    __slots__ = ("columns", "label", "classes", "image", "rows", "warnings", "split_column", "split_holdout_rows", "label_is_text")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_COLUMN_FIELD_NUMBER: _ClassVar[int]
    SPLIT_HOLDOUT_ROWS_FIELD_NUMBER: _ClassVar[int]
    LABEL_IS_TEXT_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    label: str
    classes: _containers.RepeatedCompositeFieldContainer[LabelClass]
    image: ImageShape
    rows: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    split_column: str
    split_holdout_rows: int
    label_is_text: bool
    def __init__(self, columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., label: _Optional[str] = ..., classes: _Optional[_Iterable[_Union[LabelClass, _Mapping]]] = ..., image: _Optional[_Union[ImageShape, _Mapping]] = ..., rows: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., split_column: _Optional[str] = ..., split_holdout_rows: _Optional[int] = ..., label_is_text: _Optional[bool] = ...) -> None: ...

class ColumnProfile(_message.Message):
    __slots__ = ("name", "distinct", "minimum", "maximum", "mean_length", "max_length")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MEAN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    distinct: int
    minimum: float
    maximum: float
    mean_length: float
    max_length: float
    def __init__(self, name: _Optional[str] = ..., distinct: _Optional[int] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., mean_length: _Optional[float] = ..., max_length: _Optional[float] = ...) -> None: ...

class SampleRow(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class DataProfile(_message.Message):
    __slots__ = ("columns", "samples", "duplicate_rows", "compared_rows")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPARED_ROWS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[ColumnProfile]
    samples: _containers.RepeatedCompositeFieldContainer[SampleRow]
    duplicate_rows: int
    compared_rows: int
    def __init__(self, columns: _Optional[_Iterable[_Union[ColumnProfile, _Mapping]]] = ..., samples: _Optional[_Iterable[_Union[SampleRow, _Mapping]]] = ..., duplicate_rows: _Optional[int] = ..., compared_rows: _Optional[int] = ...) -> None: ...

class DatasetReading(_message.Message):
    __slots__ = ("label_column", "column_kinds", "split_column")
    class ColumnKindsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ColumnKind
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ColumnKind, str]] = ...) -> None: ...
    LABEL_COLUMN_FIELD_NUMBER: _ClassVar[int]
    COLUMN_KINDS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_COLUMN_FIELD_NUMBER: _ClassVar[int]
    label_column: str
    column_kinds: _containers.ScalarMap[str, ColumnKind]
    split_column: str
    def __init__(self, label_column: _Optional[str] = ..., column_kinds: _Optional[_Mapping[str, ColumnKind]] = ..., split_column: _Optional[str] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("name", "display_name", "format", "state", "state_message", "label_column", "source", "schema", "create_time", "prepare_time", "reading", "profile")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_COLUMN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PREPARE_TIME_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    format: DatasetFormat
    state: DatasetState
    state_message: str
    label_column: str
    source: _artifact_pb2.Artifact
    schema: DataSchema
    create_time: _timestamp_pb2.Timestamp
    prepare_time: _timestamp_pb2.Timestamp
    reading: DatasetReading
    profile: DataProfile
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., state: _Optional[_Union[DatasetState, str]] = ..., state_message: _Optional[str] = ..., label_column: _Optional[str] = ..., source: _Optional[_Union[_artifact_pb2.Artifact, _Mapping]] = ..., schema: _Optional[_Union[DataSchema, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., prepare_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reading: _Optional[_Union[DatasetReading, _Mapping]] = ..., profile: _Optional[_Union[DataProfile, _Mapping]] = ...) -> None: ...

class ShardPlan(_message.Message):
    __slots__ = ("kind", "shards", "holdout_fraction", "seed", "alpha")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_FRACTION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    kind: ShardKind
    shards: int
    holdout_fraction: float
    seed: int
    alpha: float
    def __init__(self, kind: _Optional[_Union[ShardKind, str]] = ..., shards: _Optional[int] = ..., holdout_fraction: _Optional[float] = ..., seed: _Optional[int] = ..., alpha: _Optional[float] = ...) -> None: ...

class CreateDatasetRequest(_message.Message):
    __slots__ = ("request_id", "display_name", "format", "declaration", "label_column", "reading")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    LABEL_COLUMN_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    display_name: str
    format: DatasetFormat
    declaration: _artifact_pb2.UploadDeclaration
    label_column: str
    reading: DatasetReading
    def __init__(self, request_id: _Optional[str] = ..., display_name: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., declaration: _Optional[_Union[_artifact_pb2.UploadDeclaration, _Mapping]] = ..., label_column: _Optional[str] = ..., reading: _Optional[_Union[DatasetReading, _Mapping]] = ...) -> None: ...

class CreateDatasetResponse(_message.Message):
    __slots__ = ("dataset", "grant")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    grant: _artifact_pb2.UploadGrant
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ..., grant: _Optional[_Union[_artifact_pb2.UploadGrant, _Mapping]] = ...) -> None: ...

class GrantDatasetUploadRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GrantDatasetUploadResponse(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: _artifact_pb2.UploadGrant
    def __init__(self, grant: _Optional[_Union[_artifact_pb2.UploadGrant, _Mapping]] = ...) -> None: ...

class CompleteDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CompleteDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class UpdateDatasetRequest(_message.Message):
    __slots__ = ("name", "reading")
    NAME_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    name: str
    reading: DatasetReading
    def __init__(self, name: _Optional[str] = ..., reading: _Optional[_Union[DatasetReading, _Mapping]] = ...) -> None: ...

class UpdateDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
