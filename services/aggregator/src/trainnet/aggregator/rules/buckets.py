"""Bucketing (Karimireddy et al. 2020, arXiv:2006.09365): updates are averaged in random groups before a rule sees them,
so that honest ones differ less among each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def buckets_of(round_name: str, shards: Sequence[int], size: int) -> dict[int, int]:
    """The bucket of each shard, from 0: the shards in an order that nobody chose, cut into runs of `size`."""

    def lot(shard: int) -> str:
        return hashlib.sha256(f"{round_name}/{shard}".encode()).hexdigest()

    return {shard: place // size for place, shard in enumerate(sorted(shards, key=lot))}
