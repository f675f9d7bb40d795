"""Merge policies of jobs: completed when the job is created, asked about when its rounds are merged."""

from trainnet.coordinator.domain import merging
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import job_pb2

PUBLIC_UPDATE_NORM = 1000.0
"""Bound on the L2 norm of a stranger's update where the owner sets none: far above what an epoch moves a model by, far
below what one poisoned update needs to wipe out the rest."""


def complete(policy: job_pb2.MergePolicy, pool: job_pb2.Pool) -> None:
    """Fills in what its owner left out, in place. Raises InvalidArgument that names the field."""
    policy.strategy = policy.strategy or job_pb2.MERGE_STRATEGY_FEDAVG
    given = {field: getattr(policy, field) for field in merging.NUMBERS if policy.HasField(field)}
    try:
        numbers = merging.complete(_strategy(policy), given)
    except merging.BadPolicy as error:
        raise InvalidArgument(str(error), field=f"spec.merge.{error.field}") from None
    for field, value in numbers.items():
        setattr(policy, field, value)
    if pool == job_pb2.POOL_PUBLIC and not policy.max_update_norm:
        policy.max_update_norm = PUBLIC_UPDATE_NORM


def keeps_state(policy: job_pb2.MergePolicy) -> bool:
    """Whether its merges hand a state of the server's optimiser from round to round."""
    return merging.keeps_state(_strategy(policy))


class MergedOtherwise(InvalidArgument):
    """The round was merged by another policy than its job's."""


def check_report(policy: job_pb2.MergePolicy, *, told: bool) -> None:
    """Raises MergedOtherwise where a merge told of a state and its policy keeps none, or the other way round: an
    aggregator from before the policy would have taken the mean."""
    if told != keeps_state(policy):
        verb = "needs a" if keeps_state(policy) else "has no"
        message = f"a merge by {_strategy(policy)} {verb} state of an optimiser: bring the aggregator up to date"
        raise MergedOtherwise(message, field="optimizer_state")


def _strategy(policy: job_pb2.MergePolicy) -> str:
    name = job_pb2.MergeStrategy.Name(policy.strategy or job_pb2.MERGE_STRATEGY_FEDAVG)
    return name.removeprefix("MERGE_STRATEGY_")
