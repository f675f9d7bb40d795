"""`trainnet jobs verify`: recompute the merges of a job on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainnet.cli._context import connect
from trainnet.cli._output import AsJson, print_json, size
from trainnet.client import TrainNetError, VerifyFailed, VerifyUnavailable

if TYPE_CHECKING:
    from trainnet.client import Job, TransferProgress


def verify(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its name, with or without `jobs/`.")],
    round: Annotated[  # noqa: A002 - it names the option
        int | None, typer.Option(min=1, help="Only this round.", show_default="every merged one that is kept")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute merged weights on this machine, from each round's updates, and compare their SHA-256."""
    from trainnet.cli._transfer import TransferDisplay

    found = connect(context).jobs.get(job)
    results = []
    with TransferDisplay() as display:
        for number in _numbers(found, round):
            result = _one(found, number, display.transfer)
            results.append(result)
            if not as_json:
                print(_line(result), flush=True)
    if as_json:
        print_json({"job": found.name, "rounds": results})
    outcomes = {result["result"] for result in results}
    if "mismatch" in outcomes:
        raise TrainNetError(f"{found.name}: merged weights are not what their manifest gives", hint="do not use them")
    if "error" in outcomes:
        raise VerifyFailed(f"{found.name}: a recompute broke off", hint="try again, and tell the operator if it stays")
    if "ok" not in outcomes:
        raise VerifyUnavailable(
            f"{found.name}: nothing is left to verify",
            hint="`trainnet up --keep-rounds` (TRAINNET_KEEP_ROUNDS of the coordinator) keeps more",
        )


def _numbers(job: Job, asked: int | None) -> list[int]:
    states = {item.number: item.state for item in job.rounds}
    if asked is not None:
        if states.get(asked, "MERGED") != "MERGED":
            raise VerifyUnavailable(f"{job.name}: round {asked} is {states[asked]}", hint="verify a merged round")
        return [asked]  # one that is not there is the coordinator's to deny
    merged = [number for number, state in states.items() if state == "MERGED"]
    if not merged:
        raise VerifyUnavailable(f"{job.name} has no merged round yet", hint="wait for the first one")
    return merged


def _one(job: Job, number: int, progress: TransferProgress) -> dict[str, Any]:
    promised = next((item.merged_sha256 for item in job.rounds if item.number == number), "")
    facts: dict[str, Any] = {"number": number, "merged_sha256": promised, "recomputed_sha256": "", "message": ""}
    try:
        found = job.verify(number, lambda done, total: progress(f"verify round {number}", done, total))
    except VerifyUnavailable as error:
        return {**facts, "result": "collected", "message": error.message}
    except VerifyFailed as error:
        return {**facts, "result": "error", "message": error.message}
    message = f"{found.updates} updates, {size(found.bytes_read)} read"
    if found.state_sha256 != found.expected_state_sha256:
        message = "the state of the server's optimiser is another one"
    if not found.copy_matches:
        message = "the copy of its weights that workers train from is another one"
    if found.wrong_weighings:
        message = f"the rule does not give these weighings: {'; '.join(found.wrong_weighings[:3])}"
    if found.wrong_digests:
        message = f"wrong bytes: {', '.join(found.wrong_digests)}"
    return {
        **facts,
        "result": "ok" if found.matches else "mismatch",
        "recomputed_sha256": found.sha256,
        "message": message,
    }


def _line(result: dict[str, Any]) -> str:
    head = f"round {result['number']}:"
    if result["result"] == "ok":
        return f"{head} OK  {result['merged_sha256']}  ({result['message']})"
    if result["result"] == "mismatch":
        shas = f"promised {result['merged_sha256']}, recomputed {result['recomputed_sha256']}"
        return f"{head} MISMATCH  {shas}  ({result['message']})"
    if result["result"] == "collected":
        return f"{head} not verifiable any more (collected)"
    return f"{head} cannot be recomputed: {result['message']}"
