"""Random updates of every codec, and what they mean as fp32."""

from __future__ import annotations

import numpy as np

from trainnet.aggregator.bench.updates import random_records
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.kernels import FLOATS, Scratch
from trainnet.aggregator.layout import cut
from trainnet.runtime.tensors import TensorFile, build_header, numpy_dtype
from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec

CODECS = {
    "bf16": Codec(kind=codec_pb2.CODEC_KIND_BF16),
    "int8": Codec(kind=codec_pb2.CODEC_KIND_INT8, block_size=64),
    "topk": Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=1024, keep=31),
    "short topk": Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=64, keep=1),
}


def random_file(codec: Codec, base: TensorFile, seed: int) -> bytes:
    """An update to a base."""
    rng, decoder = np.random.default_rng(seed), decoder_of(codec, base)
    own = {tensor.name: tensor for tensor in base.tensors}
    parts = [build_header([(t.name, t.dtype, t.shape) for t in decoder.tensors], {"trainnet.codec": decoder.name})]
    for tensor in decoder.tensors:
        if tensor.dtype == "U8" and own[tensor.name].dtype in FLOATS:
            elements = codec.block_size or codec.chunk_size
            parts.append(random_records(codec, tensor.shape[0] * elements, rng).tobytes())
        elif tensor.dtype == "BF16":
            words = (rng.standard_normal(tensor.count, np.float32) * np.float32(0.01)).view("<u4") >> 16
            parts.append(words.astype("<u2").tobytes())
        elif tensor.dtype.startswith("F"):
            values = rng.standard_normal(tensor.count) * 0.01
            parts.append(values.astype(numpy_dtype(tensor.dtype)).tobytes())
        else:
            parts.append(rng.integers(0, 2, tensor.count).astype(numpy_dtype(tensor.dtype)).tobytes())
    return b"".join(parts)


def as_fp32(codec: Codec, base: TensorFile, data: bytes, header: bytes) -> bytes:
    """The FP32 update of the same numbers, for a base of F32 and integers."""
    decoder, elements = decoder_of(codec, base), sum(tensor.count for tensor in base.tensors)
    where = cut(base.tensors, 1 << 30, 1 << 30)[0]
    numbers = np.zeros(elements)
    section = np.frombuffer(data, np.uint8)[len(data) - decoder.data_size :]
    decoder.add(numbers, section, where, 1.0, first=True, scratch=Scratch(elements))
    parts, first = [header], 0
    for tensor in base.tensors:
        values = numbers[first : first + tensor.count].astype(numpy_dtype(tensor.dtype))
        parts.append(values.tobytes())
        first += tensor.count
    return b"".join(parts)
