"""What a job starts from: checked when it is created, kept as long as it has not ended."""

from typing import Any

from sqlalchemy import ColumnElement, Row, select

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.catalog import Architecture
from trainnet.coordinator.domain.states import ENDED_JOBS
from trainnet.coordinator.storage.database import Transaction
from trainnet.coordinator.storage.schema import jobs, rounds
from trainnet.coordinator.storage.statements import fetch
from trainnet.coordinator.usecases.errors import Collected, InUse, NoModel, NoSuchResource
from trainnet.coordinator.usecases.model_specs import job_spec
from trainnet.coordinator.usecases.models import usable
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import job_pb2


async def chosen(tx: Transaction, spec: job_pb2.JobSpec, architecture: Architecture) -> dict[str, Any]:
    """Column values of a job that keep hold of its base; none for scratch and for the hub, which the INITIALIZE task
    asks. Raises what CreateJob answers."""
    source = spec.base.WhichOneof("source")
    if source is None:
        return {}
    if not architecture.takes_base:
        raise InvalidArgument(f"{architecture.name} starts from scratch only: leave the base out", field="spec.base")
    if source == "hub":
        if not architecture.hub:
            raise InvalidArgument(
                f"the model hub has no models of {architecture.name}: start from an earlier job or an uploaded model",
                field="spec.base.hub",
            )
        return {}
    if source == "model":
        return {"base_model": (await usable(tx, spec.base.model)).id}
    return await _job(tx, spec.base.job, architecture)


async def _job(tx: Transaction, name: str, architecture: Architecture) -> dict[str, Any]:
    job = await fetch(tx, jobs, lock=True, id=names.id_of(name))
    if job is None:
        raise NoSuchResource(name)
    theirs = job_spec(job).architecture
    if theirs != architecture.name:
        raise InvalidArgument(
            f"{name} is a {theirs}, this job a {architecture.name}: start from a job of the same architecture",
            field="spec.base.job",
        )
    if job.merged_rounds == 0:
        raise NoModel(f"no round of {name} is merged yet: there is nothing to start from")
    last = await fetch(tx, rounds, job=job.id, number=job.merged_rounds)
    if last is None or last.merged_key is None or last.collected:
        raise Collected(f"the weights of {name} were collected")
    return {"base_job": job.id, "base_round": last.number}


def starts_from(job: ColumnElement[Any], number: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether an unfinished job starts from this round of this job."""
    starting = jobs.alias("starting")
    return (
        select(starting.c.id)
        .where(
            starting.c.base_job == job,
            starting.c.base_round == number,
            starting.c.state.not_in(tuple(ENDED_JOBS)),
        )
        .exists()
    )


async def refuse_while_used(tx: Transaction, job: Row[Any]) -> None:
    """Raises InUse while an unfinished job starts from this one."""
    starting = await tx.one(
        select(jobs.c.id).where(jobs.c.base_job == job.id, jobs.c.state.not_in(tuple(ENDED_JOBS))).limit(1)
    )
    if starting is not None:
        raise InUse(f"{names.job(starting.id)} starts from {names.job(job.id)}: cancel that job first")
