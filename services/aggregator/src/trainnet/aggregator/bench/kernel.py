"""The arithmetic alone, without a store."""

from __future__ import annotations

import threading
import time

import numpy as np

from trainnet.aggregator.fold import AddBase, AddTerm, Folder
from trainnet.aggregator.layout import cut
from trainnet.runtime.tensors import layout


def kernel_bytes_per_s(
    *, updates: int = 4, threads: int = 2, slice_bytes: int = 4 << 20, seconds: float = 1.0
) -> float:
    """Bytes of fp32 updates merged per second, base and rounding included, from memory that other slices evicted from
    the cache between two uses."""
    elements = slice_bytes // 4
    where = cut(layout([("w", "F32", (elements,))]), slice_bytes, elements)[0]
    barrier = threading.Barrier(threads + 1)
    folded = [0] * threads

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        deltas = [rng.standard_normal(elements, dtype=np.float32).view(np.uint8) for _ in range(2 * updates)]
        base = rng.standard_normal(elements, dtype=np.float32).view(np.uint8)
        folder = Folder(elements, grouped=False)
        folder.apply(AddTerm("", 0, 1.0, True, True, True), deltas[0], where)  # touches the memory once
        barrier.wait()
        until = time.perf_counter() + seconds
        turn = 0
        while time.perf_counter() < until:
            for i in range(updates):
                step = AddTerm("", 0, 100.0 + i, i == 0, i == updates - 1, True)
                folder.apply(step, deltas[(turn + i) % len(deltas)], where)
            folder.apply(AddBase("", 0, 100.0 * updates), base, where)
            folded[number] += updates * slice_bytes
            turn += updates
        barrier.wait()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    took = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return sum(folded) / took
