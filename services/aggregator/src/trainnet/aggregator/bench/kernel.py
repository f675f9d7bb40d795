"""The arithmetic alone, without a store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from trainnet.aggregator import policy
from trainnet.aggregator.bench.policies import policy_of
from trainnet.aggregator.bench.updates import decoder, random_update
from trainnet.aggregator.compare import Products
from trainnet.aggregator.fold import AddBase, AddTerm, Advance, Combine, Reader, after
from trainnet.aggregator.folder import Folder
from trainnet.aggregator.kernels import Bytes
from trainnet.aggregator.layout import cut
from trainnet.aggregator.rules.rule import Rule, rule_of
from trainnet.runtime.tensors import layout

_MEMORY = 128 << 20
"""Bytes of updates that a thread has at most: many updates are measured in shorter slices, as they are merged."""


def kernel_bytes_per_s(
    *,
    updates: int = 4,
    threads: int = 2,
    slice_bytes: int = 4 << 20,
    seconds: float = 1.0,
    strategy: str = "fedavg",
    codec: str = "fp32",
    rule: str = "mean",
) -> float:
    """Bytes of updates merged per second, counted as the fp32 that they stand for; base, optimiser and rounding
    included, from memory that other slices evicted from the cache between two uses. A rule that compares the updates
    first takes them up twice."""
    slice_bytes = min(slice_bytes, _MEMORY // (2 * updates))
    elements = slice_bytes // 4
    where = cut(layout([("w", "F32", (elements,))]), slice_bytes, elements, stateful={"w"})[0]
    merge_policy = policy_of(strategy, rule, updates)
    optimizer, robust = policy.optimizer_of(merge_policy), rule_of(merge_policy)
    if robust is not None:
        robust.check(updates)
    reader = decoder(codec, elements)
    total = None if robust is not None else 100.0 * updates
    base_step = AddBase("", 0, total)
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
        terms = [AddTerm("", 0, reader, 100.0 + i, i == 0, i == updates - 1, True) for i in range(updates)]

        def fold(found: list[Bytes]) -> None:
            for step, data in zip(terms, found, strict=True):
                folder.apply(step, data, where)

        turn_of = fold if robust is None else _turn_of(robust, folder, terms)
        turn_of(deltas[:updates])  # touches the memory once
        barrier.wait()
        until = time.perf_counter() + seconds
        turn = 0
        while time.perf_counter() < until:
            turn_of([deltas[(turn + i) % len(deltas)] for i in range(updates)])
            for finishing, data in last:
                folder.apply(finishing, data, where)
            folded[number] += updates * slice_bytes
            turn += updates
        barrier.wait()

    def _turn_of(rule: Rule, folder: Folder, terms: list[AddTerm]) -> Callable[[list[Bytes]], None]:
        """What a rule does with a slice of all updates."""
        kept = terms[: rule.keep] if rule.keep and rule.name == "KRUM" else terms
        alone = [AddTerm("", 0, reader, 1.0, True, True, True) for _ in terms]
        products, middle = Products(terms, elements), Combine(tuple((term,) for term in alone), rule.drop)

        def turn(found: list[Bytes]) -> None:
            if rule.compares:
                products.add(found, where)
            if rule.by_coordinate:
                folder.combine(middle, found, where)
                return
            for step, data in zip(kept, found, strict=False):
                folder.apply(step, data, where)

        return turn

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
