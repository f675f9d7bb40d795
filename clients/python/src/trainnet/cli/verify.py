"""`trainnet jobs verify`: recompute the merges of a job on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainnet.cli._context import connect
from trainnet.cli._output import AsJson, print_json
from trainnet.client import FailedPrecondition, TrainNetError, VerifyUnavailable

if TYPE_CHECKING:
    from trainnet.client import Job

_WORDS = {"ok": "OK", "mismatch": "MISMATCH", "collected": "not verifiable any more (collected)"}


def verify(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its name, with or without `jobs/`.")],
    round: Annotated[  # noqa: A002 - it names the option
        int | None, typer.Option(min=1, help="Only this round.", show_default="every merged one")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute merged weights from each round's manifest and compare their SHA-256."""
    found = connect(context).jobs.get(job)
    numbers = [item.number for item in found.rounds if item.state == "MERGED"]
    if round is not None:
        numbers = [round]
    if not numbers:
        raise VerifyUnavailable(f"{found.name} has no merged round yet", hint="wait for the first one")
    results = []
    for number in numbers:
        result = _one(found, number)
        results.append(result)
        if not as_json:
            print(f"round {number}: {_WORDS[result['result']]}  {result['merged_sha256']}".rstrip(), flush=True)
    if as_json:
        print_json({"job": found.name, "rounds": results})
    outcomes = {result["result"] for result in results}
    if "mismatch" in outcomes:
        raise TrainNetError(f"{found.name}: merged weights are not what their manifest gives", hint="do not use them")
    if "ok" not in outcomes:
        raise VerifyUnavailable(
            f"{found.name}: nothing is left to verify",
            hint="start the coordinator with a larger --keep-rounds to keep more",
        )


def _one(job: Job, number: int) -> dict[str, Any]:
    promised = next((item.merged_sha256 for item in job.rounds if item.number == number), "")
    facts: dict[str, Any] = {"number": number, "merged_sha256": promised, "recomputed_sha256": ""}
    try:
        result = job.verify(number)
    except VerifyUnavailable:
        return {**facts, "result": "collected"}
    except FailedPrecondition as error:
        if error.reason != "COLLECTED":
            raise
        return {**facts, "result": "collected"}
    return {**facts, "recomputed_sha256": result.recomputed_sha256, "result": "ok" if result.ok else "mismatch"}
