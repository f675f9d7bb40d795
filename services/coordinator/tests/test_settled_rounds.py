"""Which rounds a watcher need not be told of again."""

import pytest

from trainnet.coordinator.watching import settled_rounds
from trainnet.v1 import dataset_pb2, job_pb2

MERGED, OPEN = job_pb2.ROUND_STATE_MERGED, job_pb2.ROUND_STATE_OPEN
EVALUATED = job_pb2.Round(state=MERGED, metrics={"loss": 1.0})


@pytest.mark.parametrize(
    ("dataset", "fraction", "held_out", "settled"),
    [("", 0.0, 0, 2), ("datasets/d", 0.0, 0, 2), ("datasets/d", 0.1, 0, 1), ("datasets/d", 0.0, 20, 1)],
)
def test_a_round_that_waits_for_its_evaluation_is_not_settled(
    dataset: str, fraction: float, held_out: int, settled: int
) -> None:
    job = job_pb2.Job(
        spec=job_pb2.JobSpec(dataset=dataset, plan=dataset_pb2.ShardPlan(holdout_fraction=fraction)),
        schema=dataset_pb2.DataSchema(split_holdout_rows=held_out),
        rounds=[EVALUATED, job_pb2.Round(state=MERGED), job_pb2.Round(state=OPEN)],
    )
    assert settled_rounds(job) == settled
