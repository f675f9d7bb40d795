"""Folding from the object store, without what a merge writes, beside the store's own reads of the same objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from trainnet.aggregator import pipeline
from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import Objects
from trainnet.aggregator.plan import Plan, look_through
from trainnet.runtime.store import ObjectStore
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.merge_pb2 import MergeWork

STREAMS = 4
READ_BYTES = 32 << 20
TURNS = 3


def measure(store: ObjectStore, work: MergeWork, *, threads: int, slice_bytes: int) -> dict[str, float]:
    """Bytes read per second of base, updates and state: read and folded, and read alone on four streams. A rule that
    compares the updates first reads them twice. The two take turns and each answers its median, so that what else the
    machine does weighs on both."""
    work.optimizer_key = "unused"
    objects = Objects(store)
    engine = Engine(store, objects, threads=threads, slice_bytes=slice_bytes)
    plan = look_through(work, objects)
    once = [work.base, *(term.update for term in plan.terms)]
    if work.HasField("optimizer_state"):
        once.append(work.optimizer_state)
    folded, read = [], []
    for _ in range(TURNS):
        read.append(_size(once) / _read(store, once))
        folded.append(_fold(store, engine, plan, once, threads=threads, slice_bytes=slice_bytes))
    rates = {"fold_bytes_per_s": median(folded), "read_bytes_per_s": median(read)}
    return {**rates, "ratio": rates["fold_bytes_per_s"] / rates["read_bytes_per_s"]}


def _fold(
    store: ObjectStore, engine: Engine, plan: Plan, once: Sequence[Artifact], *, threads: int, slice_bytes: int
) -> float:
    """Bytes per second of a merge that keeps nothing."""
    cancel = threading.Event()
    began = time.perf_counter()
    weighings, _ = engine.weighings(plan, cancel, "", lambda found: found)
    steps = plan.steps((), weighings)
    slices = plan.slices(steps, slice_bytes)
    pipeline.run(store, steps, slices, lambda _data: None, threads=threads, cancel=cancel)
    took = time.perf_counter() - began
    size = _size(once)
    if plan.rule is not None and any(
        len(members) > 1 for members in plan.rule.together([item.bucket for item in weighings])
    ):
        # Compared, and then those read again that count.
        size += sum(term.update.size_bytes for term in plan.terms)
        pairs = zip(plan.terms, weighings, strict=True)
        size -= sum(term.update.size_bytes for term, weighing in pairs if not weighing.factor)
    return size / took


def _size(artifacts: Sequence[Artifact]) -> int:
    return sum(artifact.size_bytes for artifact in artifacts)


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
