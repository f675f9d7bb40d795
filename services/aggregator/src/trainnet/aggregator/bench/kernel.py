"""The arithmetic alone, without a store."""

from __future__ import annotations

import threading
import time

import numpy as np

from trainnet.aggregator import policy
from trainnet.aggregator.bench.updates import decoder, random_update
from trainnet.aggregator.fold import AddBase, AddTerm, Advance, Reader, after
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.kernels import Bytes
from trainnet.aggregator.layout import cut
from trainnet.runtime.tensors import layout
from trainnet.v1.job_pb2 import MergePolicy, MergeStrategy


def strategies() -> list[str]:
    """Names of merge strategies, as the contract has them but in small letters."""
    names = MergeStrategy.DESCRIPTOR.values_by_name
    return [name.removeprefix("MERGE_STRATEGY_").lower() for name in names if not name.endswith("_UNSPECIFIED")]


def kernel_bytes_per_s(
    *,
    updates: int = 4,
    threads: int = 2,
    slice_bytes: int = 4 << 20,
    seconds: float = 1.0,
    strategy: str = "fedavg",
    codec: str = "fp32",
) -> float:
    """Bytes of updates merged per second, counted as the fp32 that they stand for; base, optimiser and rounding
    included, from memory that other slices evicted from the cache between two uses."""
    elements = slice_bytes // 4
    where = cut(layout([("w", "F32", (elements,))]), slice_bytes, elements, stateful={"w"})[0]
    optimizer = policy.optimizer_of(
        MergePolicy(
            strategy=f"MERGE_STRATEGY_{strategy.upper()}",
            server_learning_rate=0.1,
            server_momentum=0.9,
            beta1=0.9,
            beta2=0.99,
            epsilon=1e-3,
        )
    )
    reader = decoder(codec, elements)
    base_step, total = AddBase("", 0, 100.0 * updates), 100.0 * updates
    barrier = threading.Barrier(threads + 1)
    folded = [0] * threads

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        deltas = [random_update(codec, elements, rng) for _ in range(2 * updates)]
        base = rng.standard_normal(elements, dtype=np.float32).view(np.uint8)
        last: list[tuple[Reader, Bytes]] = [(base_step, base)]
        if optimizer is not None:
            state = np.zeros(4 * len(optimizer.slots) * elements, np.uint8)
            last = [(Advance("state", 0, total, optimizer), state), (after(base_step), base)]
        folder = Folder(elements, grouped=False)
        folder.apply(AddTerm("", 0, reader, 1.0, True, True, True), deltas[0], where)  # touches the memory once
        barrier.wait()
        until = time.perf_counter() + seconds
        turn = 0
        while time.perf_counter() < until:
            for i in range(updates):
                step = AddTerm("", 0, reader, 100.0 + i, i == 0, i == updates - 1, True)
                folder.apply(step, deltas[(turn + i) % len(deltas)], where)
            for finishing, data in last:
                folder.apply(finishing, data, where)
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
