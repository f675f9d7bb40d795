"""From a codec and a base to what reads its updates: the one place where codecs are told apart."""

from __future__ import annotations

from itertools import groupby

from trainnet.aggregator import kernels
from trainnet.aggregator.codecs.decoder import AsItIs, Converted, Decoder
from trainnet.aggregator.codecs.int8 import Int8
from trainnet.aggregator.codecs.places import Places, Run
from trainnet.aggregator.codecs.records import Records
from trainnet.aggregator.codecs.topk import TopK
from trainnet.aggregator.errors import Unmergeable
from trainnet.aggregator.optimizer_state import moved
from trainnet.runtime.tensors import DTYPES, TensorFile, TensorInfo, layout
from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec

NAME = "trainnet.codec"
"""In the metadata of an update: the codec and its numbers, as `Decoder.name` has them; absent means FP32."""


def decoder_of(codec: Codec, base: TensorFile) -> Decoder:
    """What reads updates to `base` in a codec. Raises Unmergeable for one that this aggregator does not know."""
    match codec.kind:
        case codec_pb2.CODEC_KIND_UNSPECIFIED | codec_pb2.CODEC_KIND_FP32:
            return AsItIs(base.tensors)
        case codec_pb2.CODEC_KIND_BF16:
            tensors = [
                (item.name, "BF16" if item.dtype in kernels.FLOATS else item.dtype, item.shape) for item in base.tensors
            ]
            return _tensors("bf16", layout(tensors))
        case codec_pb2.CODEC_KIND_INT8:
            _need(codec, "block_size")
            return _in_records(f"int8/{codec.block_size}", base, Int8(codec.block_size))
        case codec_pb2.CODEC_KIND_TOPK:
            _need(codec, "chunk_size", "keep")
            if codec.chunk_size & (codec.chunk_size - 1) or not 1 <= codec.keep <= codec.chunk_size <= 1 << 16:
                raise Unmergeable(f"chunks of {codec.chunk_size} numbers of which {codec.keep} travel mean nothing")
            return _in_records(f"topk/{codec.chunk_size}/{codec.keep}", base, TopK(codec.chunk_size, codec.keep))
        case unknown:
            raise Unmergeable(f"this aggregator knows no codec {unknown}: bring it up to date")


def _need(codec: Codec, *names: str) -> None:
    missing = [name for name in names if not codec.HasField(name) or getattr(codec, name) < 1]
    if missing:
        raise Unmergeable(f"the codec does not say {', '.join(missing)}")


def _tensors(name: str, tensors: tuple[TensorInfo, ...]) -> Decoder:
    """Every tensor as it is."""
    runs: list[Run] = []
    first = 0
    for dtype, group in groupby((item for item in tensors if item.count), key=lambda item: item.dtype):
        members = list(group)
        count = sum(member.count for member in members)
        runs.append(Run(first, count, members[0].begin, dtype, 1, DTYPES[dtype][0]))
        first += count
    return Converted(name, tensors, Places(runs), None)


def _in_records(name: str, base: TensorFile, records: Records) -> Decoder:
    """Every run of neighbouring tensors that gradients move as records under the name of its first tensor; what else
    there is, as it is."""
    names = moved(base)
    tensors: list[tuple[str, str, tuple[int, ...]]] = []
    runs: list[Run] = []
    first = begin = 0
    for coded, group in groupby(base.tensors, key=lambda item: item.name in names):
        members = list(group)
        if coded:
            count = sum(member.count for member in members)
            rows = -(-count // records.elements)
            tensors.append((members[0].name, "U8", (rows, records.nbytes)))
            runs.append(Run(first, count, begin, "", records.elements, records.nbytes))
            first, begin = first + count, begin + rows * records.nbytes
            continue
        for member in members:
            tensors.append((member.name, member.dtype, member.shape))
            runs.append(Run(first, member.count, begin, member.dtype, 1, DTYPES[member.dtype][0]))
            first, begin = first + member.count, begin + member.nbytes
    return Converted(name, layout(tensors), Places(runs), records)
