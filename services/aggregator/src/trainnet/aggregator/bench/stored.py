"""Rounds in the object store without workers: seeded objects, of which some may stand for several updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from trainnet.aggregator.bench.policies import policy_of
from trainnet.aggregator.bench.updates import CODECS, decoder, random_update
from trainnet.aggregator.check import Checker
from trainnet.aggregator.codecs.choice import NAME
from trainnet.aggregator.kernels import Bytes
from trainnet.aggregator.objects import Objects
from trainnet.aggregator.rules.rule import rule_of
from trainnet.runtime.store import ObjectNotFound, ObjectStore
from trainnet.runtime.tensors import build_header
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.codec_pb2 import Codec
from trainnet.v1.merge_pb2 import CheckWork, Group, MergeWork, Term

PREFIX = "bench/merges/"
_ALIAS = "#"
"""Ends the key of a stored object; what follows tells updates apart that are the same object."""
_CHUNK = 1 << 22
"""Numbers made at a time: whole records of every codec."""
_PART = 8 << 20


class AliasedStore(ObjectStore):
    """Finds the object behind each update. The engine must not know that some are the same: of real updates it cannot
    read one in place of another."""

    def read_into(self, key: str, offset: int, view: memoryview) -> None:
        """See ObjectStore."""
        super().read_into(key.partition(_ALIAS)[0], offset, view)


def merge_work(
    store: ObjectStore, *, params: int, updates: int, strategy: str, rule: str, codec: str, most_bytes: int
) -> MergeWork:
    """A merge of so many updates to a model of one fp32 tensor, for an AliasedStore. What it reads is stored where it
    is not there yet, at most `most_bytes` of it: further updates are objects that others are too, with weights of their
    own."""
    header = build_header([("w", "F32", (params,))])
    base = _stored(store, f"{params}/base", header, _random("fp32", params, 0), len(header) + 4 * params)
    reader = decoder(codec, params)
    header = build_header([(item.name, item.dtype, item.shape) for item in reader.tensors], {NAME: reader.name})
    size = len(header) + reader.data_size
    distinct = max(1, min(updates, (most_bytes - base.size_bytes) // size))
    stored = [
        _stored(store, f"{params}/{codec}-{i}", header, _random(codec, params, i + 1), size) for i in range(distinct)
    ]
    found = [stored[i % distinct] for i in range(updates)]
    aliases = [Artifact(key=f"{item.key}{_ALIAS}{i}", size_bytes=item.size_bytes) for i, item in enumerate(found)]
    policy = policy_of(strategy, rule, updates)
    terms = [Term(shard=i, update=update, weight=100.0 + i) for i, update in enumerate(aliases)]
    known = rule_of(policy)
    if known is not None and known.measures and not known.compares:
        norms = _norms(store, stored, base, CODECS[codec])
        for i, term in enumerate(terms):
            term.norm = norms[i % distinct]
    key = f"{PREFIX}{params}/merged"
    return MergeWork(
        base=base,
        groups=[Group(terms=terms)],
        policy=policy,
        codec=CODECS[codec],
        key=key,
        optimizer_key=f"{key}-state",
    )


def _norms(store: ObjectStore, updates: Sequence[Artifact], base: Artifact, codec: Codec) -> list[float]:
    """As a round's checks find them out before its merge."""
    checker = Checker(store, Objects(store), slice_bytes=_CHUNK)
    return [checker.check(CheckWork(update=update, base=base, codec=codec)).norm for update in updates]


def _random(codec: str, params: int, seed: int) -> Iterator[Bytes]:
    rng = np.random.default_rng(seed)
    for begin in range(0, params, _CHUNK):
        yield random_update(codec, min(_CHUNK, params - begin), rng)


def _stored(store: ObjectStore, name: str, header: bytes, data: Iterator[Bytes], size: int) -> Artifact:
    artifact = Artifact(key=PREFIX + name, size_bytes=size)
    try:
        if store.stat(artifact.key).size == size:
            return artifact
    except ObjectNotFound:
        pass
    writer = store.open_writer(artifact.key, _PART)
    try:
        writer.write(header)
        for block in data:
            writer.write(block.data)
        writer.close()
    finally:
        writer.abort()
    return artifact
