from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CodecKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODEC_KIND_UNSPECIFIED: _ClassVar[CodecKind]
    CODEC_KIND_FP32: _ClassVar[CodecKind]
    CODEC_KIND_BF16: _ClassVar[CodecKind]
    CODEC_KIND_INT8: _ClassVar[CodecKind]
    CODEC_KIND_TOPK: _ClassVar[CodecKind]
CODEC_KIND_UNSPECIFIED: CodecKind
CODEC_KIND_FP32: CodecKind
CODEC_KIND_BF16: CodecKind
CODEC_KIND_INT8: CodecKind
CODEC_KIND_TOPK: CodecKind

class Codec(_message.Message):
    __slots__ = ("kind", "block_size", "chunk_size", "keep", "feedback")
    KIND_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SIZE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIZE_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    kind: CodecKind
    block_size: int
    chunk_size: int
    keep: int
    feedback: float
    def __init__(self, kind: _Optional[_Union[CodecKind, str]] = ..., block_size: _Optional[int] = ..., chunk_size: _Optional[int] = ..., keep: _Optional[int] = ..., feedback: _Optional[float] = ...) -> None: ...
