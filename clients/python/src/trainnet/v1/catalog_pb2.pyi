from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HyperparameterType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HYPERPARAMETER_TYPE_UNSPECIFIED: _ClassVar[HyperparameterType]
    HYPERPARAMETER_TYPE_INTEGER: _ClassVar[HyperparameterType]
    HYPERPARAMETER_TYPE_FLOAT: _ClassVar[HyperparameterType]
    HYPERPARAMETER_TYPE_CHOICE: _ClassVar[HyperparameterType]
    HYPERPARAMETER_TYPE_BOOLEAN: _ClassVar[HyperparameterType]
    HYPERPARAMETER_TYPE_INTEGER_LIST: _ClassVar[HyperparameterType]
    HYPERPARAMETER_TYPE_STRING: _ClassVar[HyperparameterType]

class DataKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_KIND_UNSPECIFIED: _ClassVar[DataKind]
    DATA_KIND_NONE: _ClassVar[DataKind]
    DATA_KIND_TABULAR: _ClassVar[DataKind]
    DATA_KIND_IMAGE: _ClassVar[DataKind]
    DATA_KIND_TEXT: _ClassVar[DataKind]
    DATA_KIND_AUDIO: _ClassVar[DataKind]

class LearningTask(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEARNING_TASK_UNSPECIFIED: _ClassVar[LearningTask]
    LEARNING_TASK_NONE: _ClassVar[LearningTask]
    LEARNING_TASK_CLASSIFICATION: _ClassVar[LearningTask]
    LEARNING_TASK_LANGUAGE_MODELING: _ClassVar[LearningTask]
    LEARNING_TASK_TRANSCRIPTION: _ClassVar[LearningTask]
HYPERPARAMETER_TYPE_UNSPECIFIED: HyperparameterType
HYPERPARAMETER_TYPE_INTEGER: HyperparameterType
HYPERPARAMETER_TYPE_FLOAT: HyperparameterType
HYPERPARAMETER_TYPE_CHOICE: HyperparameterType
HYPERPARAMETER_TYPE_BOOLEAN: HyperparameterType
HYPERPARAMETER_TYPE_INTEGER_LIST: HyperparameterType
HYPERPARAMETER_TYPE_STRING: HyperparameterType
DATA_KIND_UNSPECIFIED: DataKind
DATA_KIND_NONE: DataKind
DATA_KIND_TABULAR: DataKind
DATA_KIND_IMAGE: DataKind
DATA_KIND_TEXT: DataKind
DATA_KIND_AUDIO: DataKind
LEARNING_TASK_UNSPECIFIED: LearningTask
LEARNING_TASK_NONE: LearningTask
LEARNING_TASK_CLASSIFICATION: LearningTask
LEARNING_TASK_LANGUAGE_MODELING: LearningTask
LEARNING_TASK_TRANSCRIPTION: LearningTask

class ArchitectureSize(_message.Message):
    __slots__ = ("name", "parameters", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: int
    description: str
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[int] = ..., description: _Optional[str] = ...) -> None: ...

class Hyperparameter(_message.Message):
    __slots__ = ("name", "type", "default_value", "minimum", "maximum", "choices", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: HyperparameterType
    default_value: _struct_pb2.Value
    minimum: float
    maximum: float
    choices: _containers.RepeatedScalarFieldContainer[str]
    description: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[HyperparameterType, str]] = ..., default_value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., choices: _Optional[_Iterable[str]] = ..., description: _Optional[str] = ...) -> None: ...

class Architecture(_message.Message):
    __slots__ = ("architecture", "description", "data", "hyperparameters", "task", "sizes", "takes_base")
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    TAKES_BASE_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    description: str
    data: DataKind
    hyperparameters: _containers.RepeatedCompositeFieldContainer[Hyperparameter]
    task: LearningTask
    sizes: _containers.RepeatedCompositeFieldContainer[ArchitectureSize]
    takes_base: bool
    def __init__(self, architecture: _Optional[str] = ..., description: _Optional[str] = ..., data: _Optional[_Union[DataKind, str]] = ..., hyperparameters: _Optional[_Iterable[_Union[Hyperparameter, _Mapping]]] = ..., task: _Optional[_Union[LearningTask, str]] = ..., sizes: _Optional[_Iterable[_Union[ArchitectureSize, _Mapping]]] = ..., takes_base: _Optional[bool] = ...) -> None: ...

class ListArchitecturesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListArchitecturesResponse(_message.Message):
    __slots__ = ("architectures",)
    ARCHITECTURES_FIELD_NUMBER: _ClassVar[int]
    architectures: _containers.RepeatedCompositeFieldContainer[Architecture]
    def __init__(self, architectures: _Optional[_Iterable[_Union[Architecture, _Mapping]]] = ...) -> None: ...

class GetArchitectureRequest(_message.Message):
    __slots__ = ("architecture",)
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    def __init__(self, architecture: _Optional[str] = ...) -> None: ...

class GetArchitectureResponse(_message.Message):
    __slots__ = ("architecture",)
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    architecture: Architecture
    def __init__(self, architecture: _Optional[_Union[Architecture, _Mapping]] = ...) -> None: ...
