"""What a rule made of a round's updates: reported by an aggregator before it sums, so that whoever merges after it sums
the same. The first report of a round is the one that counts."""

from collections.abc import Sequence

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.states import AttemptState, RoundState, TaskKind, UpdateState
from trainnet.coordinator.domain.weighings import Weighed, problem, told
from trainnet.coordinator.storage import tasks as task_store
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import jobs, rounds, updates, weighings
from trainnet.coordinator.storage.statements import add, change, fetch, fetch_all
from trainnet.coordinator.usecases import merge_policies
from trainnet.coordinator.usecases.errors import StaleFence
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import job_pb2, merge_pb2


class BadWeighings(InvalidArgument):
    """The report is not what a rule can have made of the round's updates."""


async def report(tx: Transaction, fence: int, weighed: Sequence[job_pb2.Weighing]) -> list[job_pb2.Weighing]:
    """Those that count for the round of a claim. Raises StaleFence, BadWeighings."""
    row = await task_store.find(tx, fence)
    if row is None or row.kind != TaskKind.MERGE or row.attempt_state not in (AttemptState.LEASED, AttemptState.DONE):
        raise StaleFence(fence)
    # Locked: of two reports at the same moment the second one finds the first.
    round_row = await fetch(tx, rounds, lock=True, job=row.job, number=row.round)
    before = await of_round(tx, row.job, row.round)
    if before:
        return before
    job = await fetch(tx, jobs, id=row.job)
    if job is None or round_row is None or round_row.state != RoundState.MERGING:
        raise StaleFence(fence)
    policy = job_spec(job).merge
    rule = merge_policies.rule_of(policy)
    if not merge_policies.weighs(policy):
        raise BadWeighings(f"a merge by {rule} weighs no updates: bring the aggregator up to date", field="weighings")
    accepted = await fetch_all(tx, updates, job=row.job, round=row.round, state=UpdateState.ACCEPTED)
    plain = [Weighed(item.shard, item.bucket, item.factor, item.norm) for item in weighed]
    wrong = problem(plain, [item.shard for item in accepted])
    if wrong:
        raise BadWeighings(wrong, field="weighings")
    counts = sorted(weighed, key=lambda item: item.shard)
    data = merge_pb2.ReportWeighingsResponse(weighings=counts).SerializeToString()
    await add(tx, weighings, {"job": row.job, "round": row.round, "fence": fence, "data": data})
    words = told(rule, merge_policies.rule_numbers(policy), plain)
    decision = f"{round_row.decision}; {words}" if words else round_row.decision
    await change(tx, rounds, {"job": row.job, "number": row.round}, decision=decision)
    tx.effects.changed.add(names.job(row.job))
    return counts


async def of_round(tx: Transaction, job: str, number: int) -> list[job_pb2.Weighing]:
    """Those that count, by shard; none while nobody reported any."""
    row = await fetch(tx, weighings, job=job, round=number)
    return [] if row is None else list(merge_pb2.ReportWeighingsResponse.FromString(row.data).weighings)
