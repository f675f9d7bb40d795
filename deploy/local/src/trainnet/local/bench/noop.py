"""Jobs that train nothing, and when each step of their rounds happened."""

from itertools import pairwise
from statistics import fmean

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from trainnet.client import Client, Job
from trainnet.local.bench.jobs import whole_job
from trainnet.local.stack import LocalStack
from trainnet.v1 import job_pb2

# The times of an attempt in their order, and what ended at each of them.
_ATTEMPT = (
    ("ready", "ready"),
    ("assigned", "assign"),
    ("leased", "accept"),
    ("declared", "work"),
    ("received", "upload"),
    ("claimed", "wait_check"),
    ("accepted", "check"),
)


def run_noop(
    stack: LocalStack,
    console: Console,
    *,
    params: int,
    shards: int,
    rounds: int,
    merge: str = "fedavg",
    rule: str = "mean",
    codec: str = "fp32",
) -> job_pb2.Job:
    """Runs a noop job to its end and answers it with the times of its rounds. Raises TrainNetError."""
    with (
        Client(stack.endpoints.grpc, stack.endpoints.token) as client,
        console.status("the job is being prepared") as status,
    ):
        job = client.train(
            None,
            "noop",
            rounds=rounds,
            shards=shards,
            hyperparameters={"params": params},
            merge=merge,
            rule=rule,
            codec=codec,
            name="bench",
        )
        job.wait(lambda update: status.update(_doing(update.job)))
    return whole_job(stack.endpoints, job.name)


def _doing(job: Job) -> str:
    if not job.rounds:
        return f"the job is {job.state.lower()}"
    now = job.rounds[-1]
    return f"round {now.number} of {job.total_rounds}: {len(now.manifest)} of {job.shards} updates accepted"


def round_seconds(found: job_pb2.Round) -> float:
    """From open to merged."""
    return seconds(found.open_time, found.merged_time)


def critical_path(found: job_pb2.Round) -> dict[str, float]:
    """Seconds by step along the update that was accepted last; they sum to the round.

    assign: until its worker was chosen, other work of that worker before it included. accept: until the worker had
    its lease. work: download of the base, making and hashing the update. upload. wait_check, check: until an
    aggregator took it, until it was accepted. close: until the round was. wait_merge, merge: until an aggregator took
    it, until the merged weights were committed.
    """
    last = max(found.manifest, key=lambda entry: entry.times.accepted.ToNanoseconds()).times
    moments = [("open", found.open_time)]
    moments += [(step, getattr(last, name)) for name, step in _ATTEMPT[1:]]
    moments += [("close", found.close_time), ("wait_merge", found.claim_time), ("merge", found.merged_time)]
    return {step: seconds(before, after) for (_, before), (step, after) in pairwise(moments)}


def mean_attempt(found: job_pb2.Round) -> dict[str, float]:
    """Seconds by step, the mean over all updates of a round; steps as in critical_path."""
    return {
        step: fmean(seconds(getattr(entry.times, before), getattr(entry.times, name)) for entry in found.manifest)
        for (before, _), (name, step) in pairwise(_ATTEMPT)
    }


def making_seconds(found: job_pb2.Round) -> float:
    """Seconds that the busiest worker spent on making its random updates: what stands in the place of training."""
    by_worker: dict[str, float] = {}
    for entry in found.manifest:
        by_worker[entry.worker] = by_worker.get(entry.worker, 0.0) + entry.metrics.get("train_s", 0.0)
    return max(by_worker.values(), default=0.0)


def seconds(before: Timestamp, after: Timestamp) -> float:
    """Between two moments of the coordinator's clock."""
    return (after.ToNanoseconds() - before.ToNanoseconds()) / 1e9
