"""From a codec to how it is done: the one place where codecs are told apart."""

from __future__ import annotations

from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.codecs.int8 import Int8
from trainnet.worker.trainer.codecs.records import Records
from trainnet.worker.trainer.codecs.topk import TopK


def name_of(codec: Codec) -> str:
    """As the metadata of updates have it. Raises TaskError for a codec that this worker does not know."""
    match codec.kind:
        case codec_pb2.CODEC_KIND_UNSPECIFIED | codec_pb2.CODEC_KIND_FP32:
            return "fp32"
        case codec_pb2.CODEC_KIND_BF16:
            return "bf16"
        case codec_pb2.CODEC_KIND_INT8:
            return f"int8/{codec.block_size}"
        case codec_pb2.CODEC_KIND_TOPK:
            return f"topk/{codec.chunk_size}/{codec.keep}"
        case unknown:
            raise TaskError("WORKER", f"this worker does not know the codec {unknown}: update it")


def records_of(codec: Codec) -> Records | None:
    """The arithmetic of codecs that have records. Raises TaskError."""
    match codec.kind:
        case codec_pb2.CODEC_KIND_INT8 if codec.block_size > 0:
            return Int8(codec.block_size)
        case codec_pb2.CODEC_KIND_TOPK if 0 < codec.keep <= codec.chunk_size and codec.chunk_size.bit_count() == 1:
            return TopK(codec.chunk_size, codec.keep)
        case codec_pb2.CODEC_KIND_INT8 | codec_pb2.CODEC_KIND_TOPK:
            raise TaskError("TASK", f"the numbers of the codec {name_of(codec)} mean nothing")
        case _:
            return None
