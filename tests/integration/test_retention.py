"""The last rounds stay verifiable, the bytes of the rest are freed, the newest model stays."""

from pathlib import Path

from tests.integration.conftest import KEEP_ROUNDS
from tests.support.command import Command
from tests.support.invariants import assert_invariants
from tests.support.jobs import finish, noop
from tests.support.stacks import Stack
from tests.support.until import until_equal

ROUNDS = 6


def test_exactly_the_last_rounds_are_verifiable(stack: Stack, trainnet: Command, tmp_path: Path) -> None:
    job = finish(stack, noop(1024, rounds=ROUNDS, shards=2).start(stack.client))
    kept = list(range(ROUNDS - KEEP_ROUNDS + 1, ROUNDS + 1))
    until_equal(
        lambda: [found.number for found in job.refresh().rounds if found.verifiable], kept, "the verifiable rounds"
    )
    until_equal(
        lambda: stack.rows.one("SELECT count(*) AS freed FROM rounds WHERE job = ? AND freed", job.id),
        {"freed": ROUNDS - KEEP_ROUNDS},
        "the rounds whose bytes are freed",
    )
    updates = {int(item.key.split("/")[2]) for item in stack.store.list(f"uploads/{job.id}/")}
    assert sorted(updates) == kept
    # The base of the oldest verifiable round is the merged model of the round before it.
    models = {int(item.key.split("/")[3]) for item in stack.store.list(f"jobs/{job.id}/rounds/")}
    assert sorted(models) == [kept[0] - 1, *kept]
    assert_invariants(stack, job)

    results = {item["number"]: item["result"] for item in trainnet("jobs", "verify", job.id, "--json").json["rounds"]}
    assert [number for number, result in sorted(results.items()) if result == "ok"] == kept
    old = trainnet("jobs", "verify", job.id, "--round", "1")
    assert (old.code, old.out) == (1, "round 1: not verifiable any more (collected)\n")
    assert "--keep-rounds" in old.err
    trainnet("jobs", "download", job.id, "--round", "1", "--to", tmp_path / "old").complaint(1, "collected")
    assert not (tmp_path / "old").exists()
    assert trainnet("jobs", "download", job.id, "--to", tmp_path / "new", "--json").json["files"]
