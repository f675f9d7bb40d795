"""The invariants of DESIGN section 9, asserted from outside after every fault: by the rows of the database, the
objects in the store, and a recompute of every merge."""

import hashlib
import json
from typing import Any

from tests.support.stacks import Stack
from tests.support.until import until_equal
from trainnet.client import Job, VerifyUnavailable
from trainnet.runtime.store import ObjectInfo
from trainnet.runtime.store_errors import ObjectNotFound

AGGREGATOR_KINDS = ("CHECK", "SUM", "MERGE")
ENDED_TASKS = ("DONE", "QUARANTINED", "CANCELLED")


def assert_invariants(stack: Stack, job: Job) -> None:
    """I1 to I6 for a job that has ended; every verifiable round of it is recomputed."""
    job.refresh()
    assert job.state.ended, f"{job} has not ended"
    until_equal(lambda: _open_tasks(stack, job.id), [], f"I5: the list of open tasks of {job.name}", within=60)
    rounds = stack.rows.all("SELECT * FROM rounds WHERE job = ? ORDER BY number", job.id)
    updates = stack.rows.all("SELECT * FROM updates WHERE job = ? ORDER BY fence", job.id)
    accepted = [row for row in updates if row["state"] == "ACCEPTED"]

    _one_update_for_each_shard(job, rounds, accepted)
    _contributions_are_the_accepted_updates(stack, job, accepted)
    _no_stale_fence_counted(stack, job, updates)
    _objects_and_rows_agree(stack, job, accepted)
    _merges_recompute(stack, job, rounds)


def _open_tasks(stack: Stack, job: str) -> list[dict[str, Any]]:
    tasks = stack.rows.all("SELECT id, kind, round, shard, state, message FROM tasks WHERE job = ?", job)
    return [task for task in tasks if task["state"] not in ENDED_TASKS]


def _one_update_for_each_shard(job: Job, rounds: list[dict[str, Any]], accepted: list[dict[str, Any]]) -> None:
    places = [(row["round"], row["shard"]) for row in accepted]
    assert len(places) == len(set(places)), f"I1: a shard of {job.name} counts twice: {sorted(places)}"
    for row in rounds:
        if row["state"] == "MERGED":
            counted = sorted(shard for number, shard in places if number == row["number"])
            trained = json.loads(row["sampled"]) if row["sampled"] else list(range(job.shards))
            whole = counted == trained
            needed = row["quorum"] or row["buffer"]
            enough = needed and len(counted) >= needed and set(counted) <= set(trained)
            assert whole or enough, f"{job.name} merged round {row['number']} from {counted} of {trained}"
            assert row["accepted"] == len(counted), f"round {row['number']} counts {row['accepted']}, not {counted}"
            assert row["due"] is None, f"round {row['number']} is merged and still waits for its time"


def _contributions_are_the_accepted_updates(stack: Stack, job: Job, accepted: list[dict[str, Any]]) -> None:
    facts = ("fence", "job", "round", "shard", "worker", "examples")
    earned = stack.rows.all("SELECT * FROM contributions WHERE job = ? ORDER BY fence", job.id)
    assert [[row[fact] for fact in facts] for row in earned] == [[row[fact] for fact in facts] for row in accepted], (
        f"I2: contributions of {job.name} are not its accepted updates"
    )
    told = sorted(entry.fence for found in job.rounds for entry in found.manifest)
    assert told == [row["fence"] for row in accepted], f"manifests of {job.name} are not its accepted updates"
    rows = stack.rows.all(
        "SELECT shard, shards.rows FROM shards JOIN jobs ON jobs.plan = shards.plan WHERE jobs.id = ?", job.id
    )
    weights = {row["shard"]: row["rows"] for row in rows}
    for row in accepted:
        assert row["examples"] == weights.get(row["shard"], 1), f"I2: fence {row['fence']} has a weight of its own"


def _no_stale_fence_counted(stack: Stack, job: Job, updates: list[dict[str, Any]]) -> None:
    attempts = stack.rows.all(
        "SELECT fence, task, kind, attempts.state, tasks.state AS task_state FROM attempts"
        " JOIN tasks ON tasks.id = attempts.task WHERE tasks.job = ?",
        job.id,
    )
    live = [row for row in attempts if row["state"] in ("ASSIGNED", "LEASED", "CHECKING")]
    assert not live, f"I4: attempts of an ended job are live: {live}"
    counted = {row["fence"] for row in attempts if row["kind"] == "TRAIN" and row["state"] == "DONE"}
    accepted = {row["fence"] for row in updates if row["state"] == "ACCEPTED"}
    assert counted == accepted, f"I4: fences done {sorted(counted)}, accepted {sorted(accepted)}"
    done: dict[int, int] = {}
    for row in attempts:
        if row["task_state"] == "DONE":
            done[row["task"]] = done.get(row["task"], 0) + (row["state"] == "DONE")
    assert set(done.values()) <= {1}, f"I4: a task of {job.name} is done, but not by exactly one attempt: {done}"


def _objects_and_rows_agree(stack: Stack, job: Job, accepted: list[dict[str, Any]]) -> None:
    stored = {item.key: item for item in stack.store.list(f"uploads/{job.id}/")}
    models = {item.key: item for item in stack.store.list(f"jobs/{job.id}/")}
    granted = {row["object_key"] for row in stack.rows.all("SELECT object_key FROM uploads")}
    assert set(stored) <= granted, f"I6: objects without a row: {sorted(set(stored) - granted)}"
    # Asked after the store: a round is marked before its objects go, so those of one without a mark were all there.
    rounds = stack.rows.all("SELECT * FROM rounds WHERE job = ? ORDER BY number", job.id)
    kept = {row["number"] for row in rounds if not row["collected"]}
    for row in accepted:
        if row["round"] in kept:
            _is_stored(stored, row, "object", f"the update of fence {row['fence']}")
    for row in rounds:
        if row["number"] in kept and row["state"] == "MERGED":
            _is_stored(models, row, "merged", f"the merged weights of round {row['number']}")
            if row["optimizer_key"] is not None:
                _is_stored(models, row, "optimizer", f"the state of the optimiser of round {row['number']}")
            if row["copy_key"] is not None:
                _is_stored(models, row, "copy", f"the copy of the weights of round {row['number']}")


def _is_stored(stored: dict[str, ObjectInfo], row: dict[str, Any], prefix: str, what: str) -> None:
    found = stored.get(row[f"{prefix}_key"])
    assert found is not None, f"I6: {what} has a row, but no object {row[f'{prefix}_key']}"
    assert found.size == row[f"{prefix}_size"], f"I6: {what} has {found.size} bytes, not {row[f'{prefix}_size']}"


def _merges_recompute(stack: Stack, job: Job, rounds: list[dict[str, Any]]) -> None:
    for row in rounds:
        if row["state"] != "MERGED" or row["collected"]:
            continue
        try:
            _merge_recomputes(stack, job, row)
        except (VerifyUnavailable, ObjectNotFound):
            if not _is_collected(stack, job, row["number"]):  # while it was read, as old rounds are
                raise


def _merge_recomputes(stack: Stack, job: Job, row: dict[str, Any]) -> None:
    number = row["number"]
    found = job.verify(number)
    assert found.matches, f"I3: round {number} of {job.name} recomputes to another model: {found}"
    assert found.sha256 == row["merged_sha256"]
    assert _sha256(stack, row["merged_key"], row["merged_size"]) == row["merged_sha256"], (
        f"I3: the stored weights of round {number} of {job.name} are not those that were reported"
    )
    if row["optimizer_key"] is not None:
        stored = _sha256(stack, row["optimizer_key"], row["optimizer_size"])
        assert stored == row["optimizer_sha256"] == found.state_sha256, (
            f"I3: the state of the optimiser of round {number} of {job.name} is not the one that was reported"
        )


def _is_collected(stack: Stack, job: Job, number: int) -> bool:
    return bool(stack.rows.all("SELECT 1 FROM rounds WHERE job = ? AND number = ? AND collected", job.id, number))


def _sha256(stack: Stack, key: str, size: int) -> str:
    digest, piece = hashlib.sha256(), bytearray(min(size, 16 << 20))
    for offset in range(0, size, len(piece) or 1):
        view = memoryview(piece)[: min(len(piece), size - offset)]
        stack.store.read_into(key, offset, view)
        digest.update(view)
    return digest.hexdigest()
