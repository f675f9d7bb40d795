"""The benchmark's rounds with more updates than there is room for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from trainnet.aggregator.bench.stored import PREFIX, AliasedStore, merge_work
from trainnet.aggregator.bench.updates import random_update
from trainnet.aggregator.bench.whole import measure_merge
from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import Objects
from trainnet.runtime.tensors import build_header

PARAMS = 1000


def numbers(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return random_update("fp32", PARAMS, np.random.default_rng(seed)).view(np.float32)


def test_further_updates_stand_for_stored_ones_with_weights_of_their_own(weed: Any) -> None:
    header = len(build_header([("w", "F32", (PARAMS,))]))
    room = 4 * 4 * PARAMS  # for the base and two updates with their headers
    with AliasedStore(weed.credentials, endpoint=weed.endpoint) as store:
        work = merge_work(
            store, params=PARAMS, updates=5, strategy="fedavg", rule="mean", codec="fp32", most_bytes=room
        )
        terms = work.groups[0].terms
        assert len({term.update.key for term in terms}) == 5
        assert len(list(store.list(f"{PREFIX}{PARAMS}/fp32-"))) == 2
        merged = Engine(store, Objects(store), threads=1, slice_bytes=1 << 20).merge(work).merged
        found = np.frombuffer(store.get(merged.key, merged.size_bytes)[header:], "<f4")
        store.delete([merged.key])
        weights = [term.weight for term in terms]
        mean = sum(w * numbers(1 + i % 2).astype(np.float64) for i, w in enumerate(weights)) / sum(weights)
        assert np.array_equal(found, (numbers(0) + mean).astype(np.float32))
        rates = measure_merge(store, work, threads=1, slice_bytes=1 << 20)
        assert rates["bytes_per_s"] > 0


def test_what_is_said_of_a_store_out_of_reach_is_no_part_of_the_results(weed: Any) -> None:
    settings = {
        "TRAINNET_S3_ENDPOINT": weed.endpoint,
        "TRAINNET_S3_ACCESS_KEY": weed.credentials.access_key,
        "TRAINNET_S3_SECRET_KEY": weed.credentials.secret_key,
    }
    weed.kill()
    try:
        command = [sys.executable, "-m", "trainnet.aggregator.bench", "store", "--params", str(PARAMS)]
        bench = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert bench.stderr is not None, "it is a pipe"
        assert "store keeps failing" in bench.stderr.readline()
    finally:
        weed.start()
    out, _ = bench.communicate(timeout=60)
    assert json.loads(out)["policy"]
    assert bench.returncode == 0
