"""Short reads out of longer ones: the same bytes, in fewer requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainnet.aggregator.stretches import Stretches


class Objects:
    """Objects in memory that count how often they are read."""

    def __init__(self, count: int, size: int) -> None:
        rng = np.random.default_rng(1)
        self.data = {f"object-{k}": rng.bytes(size) for k in range(count)}
        self.requests = 0

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        self.requests += 1
        found = self.data[key][offset : offset + len(view)]
        assert len(found) == len(view), "beyond the end"
        view[:] = found


def read(source: Stretches, key: str, begin: int, end: int) -> bytes:
    buffer = bytearray(end - begin)
    source.read_into(key, begin, memoryview(buffer))
    return bytes(buffer)


@given(st.lists(st.integers(0, 5_000_000), min_size=2, max_size=30), st.integers(0, 100), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_the_same_bytes(cuts: list[int], shared: int, count: int) -> None:
    """Neighbours may share some bytes, as slices do that share a record."""
    places = sorted(cuts)
    objects = Objects(count, places[-1] + 100)
    ends = dict.fromkeys(objects.data, places[-1])
    source = Stretches(objects, ends, max(end - begin + shared for begin, end in pairwise(places)))
    for begin, end in pairwise(places):
        begin = max(places[0], begin - shared)
        for key, data in objects.data.items():
            assert read(source, key, begin, end) == data[begin:end]


def test_fewer_requests_in_bounded_memory() -> None:
    objects = Objects(64, 2_000_000)
    source = Stretches(objects, dict.fromkeys(objects.data, 2_000_000), 20_000)
    with ThreadPoolExecutor(4) as pool:
        for begin in range(0, 2_000_000, 20_000):
            list(pool.map(lambda key, begin=begin: read(source, key, begin, begin + 20_000), objects.data))
    assert objects.requests <= 64 * 2
    held = sum(len(stretch.memory) for stretch in source._stretches.values())
    assert held <= 128 << 20


def test_objects_are_not_all_asked_for_at_once() -> None:
    """Else nothing would be read while a slice is worked on, and the next one would wait for all of them."""
    objects = Objects(8, 8_000_000)
    source = Stretches(objects, dict.fromkeys(objects.data, 8_000_000), 100_000)
    most = 0
    for begin in range(0, 8_000_000, 100_000):
        before = objects.requests
        for key in objects.data:
            read(source, key, begin, begin + 100_000)
        if begin:
            most = max(most, objects.requests - before)
    assert most <= 2


def test_long_reads_and_other_objects_go_straight_through() -> None:
    objects = Objects(2, 15_000_000)
    source = Stretches(objects, {"object-0": 15_000_000}, 5_000_000)
    for begin in (0, 5_000_000, 10_000_000):
        for key, data in objects.data.items():
            assert read(source, key, begin, begin + 5_000_000) == data[begin : begin + 5_000_000]
    assert objects.requests == 6
