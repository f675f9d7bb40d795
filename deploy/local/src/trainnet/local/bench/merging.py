"""Rounds without a coordinator: updates made in this process, merged by the aggregator's own engine.

Policies are completed as the coordinator completes those of jobs, and the engine is the aggregator's with a real object
store behind it. Only the updates do not travel: the engine finds them among the small objects that it keeps in memory,
where the check of an update leaves it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trainnet.aggregator.engine import Engine
from trainnet.aggregator.objects import SMALL, Objects
from trainnet.coordinator.usecases import merge_policies
from trainnet.local import weed
from trainnet.local.errors import LocalError
from trainnet.local.ports import HOST
from trainnet.local.signals import StopSignals
from trainnet.local.stack import LocalStack
from trainnet.runtime import digest
from trainnet.runtime.errors import InvalidArgument
from trainnet.runtime.presign import Credentials
from trainnet.runtime.store import ObjectStore
from trainnet.v1 import codec_pb2, job_pb2
from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.merge_pb2 import Group, MergeWork, Term

_KEPT = SMALL // 4
"""Bytes up to which nothing else of its round is too large for the engine's memory: an optimiser's state is twice as
long as the weights."""


@contextmanager
def storing() -> Iterator[ObjectStore]:
    """The embedded object store in a folder of its own, gone afterwards. Raises LocalError, and KeyboardInterrupt on a
    signal."""
    with tempfile.TemporaryDirectory(prefix="trainnet-bench-") as folder:
        stack = LocalStack(Path(folder), infrastructure_only=True)
        with StopSignals(stack), stack:
            assert stack.ports is not None, "the stack runs"
            assert stack.secrets is not None, "the stack runs"
            credentials = Credentials(stack.secrets.s3_access_key, stack.secrets.s3_secret_key)
            with ObjectStore(credentials, endpoint=f"{HOST}:{stack.ports.s3}", bucket=weed.BUCKET) as store:
                yield store


def completed(policy: job_pb2.MergePolicy, updates: int) -> job_pb2.MergePolicy:
    """The policy of a job whose rounds have so many updates. Raises LocalError where they are too few for it."""
    found = job_pb2.MergePolicy()
    found.CopyFrom(policy)
    try:
        merge_policies.complete(found, job_pb2.POOL_TRUSTED, updates)
    except InvalidArgument as error:
        raise LocalError(f"--set: {error}") from None
    return found


class Rounds:
    """The rounds of a job, one after the other."""

    def __init__(
        self,
        store: ObjectStore,
        job: str,
        policy: job_pb2.MergePolicy,
        base: bytes,
        codec: codec_pb2.Codec | None = None,
        *,
        copies: bool = False,
    ) -> None:
        """`policy` and `codec` are completed, `base` is the safetensors file to start from. With `copies` a merge makes
        the BF16 copy of its weights too."""
        self._store, self._job, self._policy, self._codec = store, f"jobs/{job}", policy, codec
        self._objects = Objects(store)
        self._engine = Engine(store, self._objects, threads=1, slice_bytes=SMALL)
        self._number = 0
        self._base = self._placed(f"{self._job}/base", base)
        self._state: Artifact | None = None
        self._copies = copies
        self.copy = b""
        """Of the last round's weights."""

    def merge(self, updates: Mapping[int, bytes], weights: Mapping[int, float]) -> bytes:
        """The weights after a round with these updates, files by shard. Raises AggregatorError, StoreError."""
        self._number += 1
        name = f"{self._job}/rounds/{self._number}"
        terms = [
            Term(shard=shard, update=self._placed(f"{name}/updates/{shard}", update), weight=weights[shard])
            for shard, update in sorted(updates.items())
        ]
        work = MergeWork(
            groups=[Group(terms=terms)],
            base=self._base,
            policy=self._policy,
            codec=self._codec,
            key=f"{name}/merged",
            optimizer_state=self._state,
            optimizer_key=f"{name}/optimizer" if merge_policies.keeps_state(self._policy) else "",
            copy_key=f"{name}/copy" if self._copies else "",
        )
        done = self._engine.merge(work, round_name=name)
        self._base, self._state = done.merged, done.state
        if done.copy is not None:
            self.copy = self._store.get(done.copy.key, done.copy.size_bytes)
        return self._objects.small(done.merged)

    def _placed(self, key: str, data: bytes) -> Artifact:
        if len(data) > _KEPT:
            self._store.put(key, data)
            return Artifact(key=key, digest=digest.of_bytes(data), size_bytes=len(data))
        # Nobody reads it from anywhere but memory, so nobody compares its digest, which would cost more than the sum.
        found = Artifact(key=key, size_bytes=len(data))
        self._objects.keep(found, data)
        return found
