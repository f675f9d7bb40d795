"""Whether an update may count: the decision, and the one pass over its bytes that it needs.

An update is a stranger's file. Its header is read within limits that its base sets, must lay out exactly the base's
tensors, and every number must be finite. A verdict depends on stored bytes alone, so whoever repeats it agrees.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np

from trainnet.aggregator import layout
from trainnet.aggregator.codecs.choice import NAME, decoder_of
from trainnet.aggregator.codecs.decoder import Decoder
from trainnet.aggregator.codecs.records import CodecError
from trainnet.aggregator.errors import Cancelled
from trainnet.aggregator.kernels import Scratch
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.objects import SMALL, DigestMismatchError, Objects
from trainnet.aggregator.readahead import Read, ReadAhead
from trainnet.runtime.store import ObjectNotFound, ObjectStore, ShortRead
from trainnet.runtime.tensors import SafetensorsError, TensorFile, same_map
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.merge_pb2 import CheckWork

_DEPTH = 2
# Room for metadata beside the base's own header.
_EXTRA_HEADER = 64 * 1024


@dataclass(frozen=True)
class Verdict:
    """`reason` is empty where accepted, else one of merge.proto's words; `norm` is 0 when it was not reached."""

    accepted: bool
    reason: str = ""
    message: str = ""
    norm: float = 0.0


def judge_layout(decoder: Decoder, update: TensorFile) -> Verdict | None:
    """None if the update has exactly the codec's tensors of its base, at their places of the data section."""
    came = update.metadata.get(NAME, "fp32")
    if came != decoder.name:
        return Verdict(False, "CODEC", f"the update came as {came!a:.100}, the job's codec is {decoder.name}")
    difference = same_map(decoder.tensors, update.tensors)
    if difference is None:
        places = {tensor.name: tensor.begin for tensor in update.tensors}
        moved = next((tensor.name for tensor in decoder.tensors if places[tensor.name] != tensor.begin), None)
        difference = f"tensor {moved!a:.100} is not in the base's order" if moved is not None else None
    return Verdict(False, "TENSOR_MAP", difference) if difference is not None else None


def judge_values(sum_of_squares: float, max_norm: float) -> Verdict:
    """The verdict on an update whose layout is right."""
    if math.isnan(sum_of_squares):
        return Verdict(False, "NOT_FINITE", "a value is NaN or infinite")
    norm = math.sqrt(sum_of_squares)
    if max_norm > 0 and norm > max_norm:
        return Verdict(False, "NORM", f"L2 norm {norm:.6g}, the bound is {max_norm:.6g}", norm)
    return Verdict(True, norm=norm)


class Checker:
    """Checks updates in constant memory. Thread-safe."""

    def __init__(self, store: ObjectStore, objects: Objects, *, slice_bytes: int) -> None:
        self._store, self._objects, self._slice_bytes = store, objects, slice_bytes

    def check(self, work: CheckWork, cancel: threading.Event | None = None) -> Verdict:
        """Raises Cancelled, StoreError, and SafetensorsError if the base itself cannot be read."""
        base = self._objects.header(work.base).file
        decoder = decoder_of(work.codec, base)
        try:
            self._check_stored(work.update)
            header = self._objects.read_header(
                work.update, max_header=base.header_size + _EXTRA_HEADER, max_tensors=len(base.tensors)
            )
            verdict = judge_layout(decoder, header.file)
            if verdict is not None:
                return verdict
            return self._values(work, base, decoder, header.file.header_size, cancel or threading.Event())
        except CodecError as error:
            return Verdict(False, "CODEC", str(error))
        except SafetensorsError as error:
            return Verdict(False, "HEADER", str(error)[:1000])
        except (ObjectNotFound, ShortRead, DigestMismatchError) as error:
            return Verdict(False, "MISSING", str(error)[:1000])

    def _check_stored(self, update: Artifact) -> None:
        """The object is the declared one. Small ones are hashed when they are read; of large ones the store, which
        hashed them, is asked."""
        if update.size_bytes <= SMALL:
            return
        info = self._store.stat(update.key)
        if info.size != update.size_bytes:
            raise DigestMismatchError(f"{update.key} has {info.size} bytes, declared were {update.size_bytes}")
        if info.sha256 is not None and update.digest and info.sha256 != update.digest:
            raise DigestMismatchError(f"{update.key} does not have the digest {update.digest}")

    def _values(
        self, work: CheckWork, base: TensorFile, decoder: Decoder, header_size: int, cancel: threading.Event
    ) -> Verdict:
        # As many bytes of the update as otherwise: most of what a codec leaves out needs no memory.
        longer = max(1, base.tensors[-1].end // max(1, decoder.data_size)) if base.tensors else 1
        slices = layout.cut(
            base.tensors, self._slice_bytes * longer, self._slice_bytes // 4 * longer, header_size=header_size
        )
        scratch = Scratch(max((where.count for where in slices), default=1))
        total = 0.0
        if work.update.size_bytes <= SMALL:
            data = np.frombuffer(self._objects.small(work.update), np.uint8)[header_size:]
            for where in slices:
                begin, end = decoder.place(where)
                total += decoder.sum_of_squares(data[begin:end], where, scratch)
        else:
            total = self._stream(work.update.key, header_size, decoder, slices, scratch, cancel)
        return judge_values(total, work.max_update_norm)

    def _stream(
        self,
        key: str,
        header_size: int,
        decoder: Decoder,
        slices: list[Slice],
        scratch: Scratch,
        cancel: threading.Event,
    ) -> float:
        total = 0.0
        places = [decoder.place(where) for where in slices]
        reads = (Read(key, header_size + begin, end - begin) for begin, end in places)
        size = max(end - begin for begin, end in places)
        with ReadAhead(self._store, reads, buffer_bytes=size, depth=_DEPTH, cancelled=cancel.is_set) as ahead:
            for where, data in zip(slices, ahead, strict=True):
                total += decoder.sum_of_squares(data, where, scratch)
                if math.isnan(total) or cancel.is_set():
                    break
        if cancel.is_set():
            raise Cancelled
        return total
