"""Folding from the object store, without what a merge writes, beside the store's own reads of the same objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from trainnet.aggregator import fold, layout, pipeline, policy
from trainnet.aggregator.codecs.choice import decoder_of
from trainnet.aggregator.objects import Objects
from trainnet.aggregator.optimizer_state import StateFile, moved
from trainnet.runtime.store import ObjectStore
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.merge_pb2 import MergeWork, Term

STREAMS = 4
READ_BYTES = 32 << 20
TURNS = 3


def measure(store: ObjectStore, work: MergeWork, *, threads: int, slice_bytes: int) -> dict[str, float]:
    """Bytes of base, updates and state per second: read and folded, and read alone on four streams. The two take turns
    and each answers its median, so that what else the machine does weighs on both."""
    terms = [term for group in work.groups for term in fold.in_shard_order(group.terms)]
    artifacts = [work.base, *(term.update for term in terms)]
    if work.HasField("optimizer_state"):
        artifacts.append(work.optimizer_state)
    total = sum(artifact.size_bytes for artifact in artifacts)
    folded, read = [], []
    for _ in range(TURNS):
        read.append(_read(store, artifacts))
        folded.append(_fold(store, work, terms, threads=threads, slice_bytes=slice_bytes))
    rates = {"fold_bytes_per_s": total / median(folded), "read_bytes_per_s": total / median(read)}
    return {**rates, "ratio": rates["fold_bytes_per_s"] / rates["read_bytes_per_s"]}


def _fold(store: ObjectStore, work: MergeWork, terms: Sequence[Term], *, threads: int, slice_bytes: int) -> float:
    """Seconds of a merge of one group that keeps nothing."""
    header = Objects(store).header(work.base)
    total = sum(term.weight for term in terms)
    base = fold.AddBase(work.base.key, header.file.header_size, total)
    optimizer = policy.optimizer_of(work.policy)
    last: list[fold.Step] = [base]
    names: frozenset[str] = frozenset()
    if optimizer is not None:
        names = moved(header.file)
        begin = len(StateFile.of(header.file, names, optimizer).header)
        last = [fold.Advance(work.optimizer_state.key, begin, total, optimizer), fold.after(base)]
    steps = [*fold.sum_steps(terms, decoder_of(work.codec, header.file)), *last]
    elements = slice_bytes // (4 * max(1, len(optimizer.slots) if optimizer is not None else 0))
    slices = layout.cut(header.file.tensors, slice_bytes, elements, header_size=header.file.header_size, stateful=names)
    began = time.perf_counter()
    pipeline.run(store, steps, slices, lambda _data: None, threads=threads, cancel=threading.Event())
    return time.perf_counter() - began


def _read(store: ObjectStore, artifacts: Sequence[Artifact]) -> float:
    """Seconds to read every object once."""
    buffers = [memoryview(bytearray(READ_BYTES)) for _ in range(STREAMS)]
    free = list(buffers)
    lock = threading.Lock()

    def one(where: tuple[str, int, int]) -> None:
        key, start, length = where
        with lock:
            buffer = free.pop()
        try:
            store.read_into(key, start, buffer[:length])
        finally:
            with lock:
                free.append(buffer)

    ranges = [
        (artifact.key, start, min(READ_BYTES, artifact.size_bytes - start))
        for artifact in artifacts
        for start in range(0, artifact.size_bytes, READ_BYTES)
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(STREAMS) as pool:
        for _ in pool.map(one, ranges):
            pass
    return time.perf_counter() - began
