"""Random updates of each codec, as bytes that a check accepts."""

from __future__ import annotations

import numpy as np

from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.codecs.records import Matrix
from trainnet.aggregator.codecs.topk import TopK
from trainnet.aggregator.kernels import Bytes
from trainnet.runtime.tensors import TensorFile, layout
from trainnet.v1 import codec_pb2
from trainnet.v1.codec_pb2 import Codec

CODECS = {
    "fp32": Codec(kind=codec_pb2.CODEC_KIND_FP32),
    "bf16": Codec(kind=codec_pb2.CODEC_KIND_BF16),
    "int8": Codec(kind=codec_pb2.CODEC_KIND_INT8, block_size=256),
    "topk": Codec(kind=codec_pb2.CODEC_KIND_TOPK, chunk_size=4096, keep=64),
}
"""With their default numbers."""


def decoder(codec: str, elements: int) -> Decoder:
    """Of a model of one fp32 tensor."""
    return decoder_of(CODECS[codec], TensorFile(0, layout([("w", "F32", (elements,))]), {}))


def random_update(codec: str, elements: int, rng: np.random.Generator) -> Bytes:
    """The data section of an update to a model of one fp32 tensor."""
    if codec == "fp32":
        return rng.standard_normal(elements, dtype=np.float32).view(np.uint8)
    if codec == "bf16":
        return (rng.standard_normal(elements, dtype=np.float32).view(np.uint32) >> 16).astype("<u2").view(np.uint8)
    return random_records(CODECS[codec], elements, rng).reshape(-1)


def random_records(codec: Codec, elements: int, rng: np.random.Generator) -> Matrix:
    """Records of so many numbers, of about 0.001 at most."""
    if codec.kind == codec_pb2.CODEC_KIND_INT8:
        rows = rng.integers(0, 256, (-(-elements // codec.block_size), 2 + codec.block_size), np.uint8)
        rows[:, :2] = (0x00, 0x37)
        return rows
    topk = TopK(codec.chunk_size, codec.keep)
    rows = rng.integers(0, 256, (-(-elements // topk.elements), topk.nbytes), np.uint8)
    rows[:, :4] = (0x80, 0x39, 0x80, 0x3A)
    # Different ones in rising order, with `keep` draws for each record.
    drawn = rng.integers(0, topk.elements - topk.keep + 1, (len(rows), topk.keep))
    places = np.sort(drawn, axis=1) + np.arange(topk.keep)
    ones = np.zeros((len(rows), topk.high_bits), np.uint8)
    np.put_along_axis(ones, (places >> topk.low_bits) + np.arange(topk.keep), 1, axis=1)
    lows = (places[:, :, None] >> np.arange(topk.low_bits)) & 1
    coded = [np.packbits(lows.reshape(len(rows), -1).astype(np.uint8), axis=1, bitorder="little")]
    coded.append(np.packbits(ones, axis=1, bitorder="little"))
    rows[:, topk.nbytes - sum(part.shape[1] for part in coded) :] = np.hstack(coded)
    return rows
