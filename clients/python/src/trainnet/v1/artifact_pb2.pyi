import datetime

from trainnet.v1._imports.buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignedRequest(_message.Message):
    __slots__ = ("method", "url", "headers", "expire_time")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METHOD_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    method: str
    url: str
    headers: _containers.ScalarMap[str, str]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, method: _Optional[str] = ..., url: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("key", "digest", "size_bytes", "part_size_bytes", "download")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PART_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DOWNLOAD_FIELD_NUMBER: _ClassVar[int]
    key: str
    digest: str
    size_bytes: int
    part_size_bytes: int
    download: SignedRequest
    def __init__(self, key: _Optional[str] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., part_size_bytes: _Optional[int] = ..., download: _Optional[_Union[SignedRequest, _Mapping]] = ...) -> None: ...

class UploadDeclaration(_message.Message):
    __slots__ = ("size_bytes", "part_sha256")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PART_SHA256_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    part_sha256: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, size_bytes: _Optional[int] = ..., part_sha256: _Optional[_Iterable[bytes]] = ...) -> None: ...

class UploadPart(_message.Message):
    __slots__ = ("part_number", "offset_bytes", "size_bytes", "request")
    PART_NUMBER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    part_number: int
    offset_bytes: int
    size_bytes: int
    request: SignedRequest
    def __init__(self, part_number: _Optional[int] = ..., offset_bytes: _Optional[int] = ..., size_bytes: _Optional[int] = ..., request: _Optional[_Union[SignedRequest, _Mapping]] = ...) -> None: ...

class UploadGrant(_message.Message):
    __slots__ = ("key", "digest", "parts", "total_parts", "stored_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PARTS_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: str
    digest: str
    parts: _containers.RepeatedCompositeFieldContainer[UploadPart]
    total_parts: int
    stored_bytes: int
    def __init__(self, key: _Optional[str] = ..., digest: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[UploadPart, _Mapping]]] = ..., total_parts: _Optional[int] = ..., stored_bytes: _Optional[int] = ...) -> None: ...
