"""Objects that are written once: an earlier attempt's are recognised, whatever their parts."""

from __future__ import annotations

import numpy as np
import pytest

from trainnet.aggregator import output
from trainnet.aggregator.output import Output
from trainnet.runtime.store import ObjectStore
from trainnet.v1.artifact_pb2 import Artifact

MIB = 1024 * 1024


@pytest.mark.parametrize("part_mib", [8, 9])
def test_an_earlier_attempt_has_the_same_digest(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, part_mib: int
) -> None:
    # Above 70 GiB parts are no whole number of the steps in which what is there is read.
    monkeypatch.setattr(output, "part_size_for", lambda _: part_mib * MIB)
    data = np.random.default_rng(part_mib).bytes(20 * MIB)

    def written() -> tuple[Artifact, str]:
        with Output(store, f"outputs/{part_mib}", len(data)) as out:
            out.write(data)
            return out.finish()

    first = written()
    assert first[0].part_size_bytes == part_mib * MIB
    assert written() == first
