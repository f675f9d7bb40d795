"""Jobs of every rule on a real stack, and of all that a round may be asked at once: recomputed by the client."""

from dataclasses import replace

import pytest

from tests.support.command import Command
from tests.support.invariants import assert_invariants
from tests.support.jobs import finish, noop
from tests.support.stacks import Stack

SHARDS = 7
RULES = {
    "median": "median of 7 updates",
    "trimmed_mean": "trimmed mean of 7 updates, without the 1 largest and smallest of each weight",
    "krum": "krum kept 4 of 7 updates and left out shards ",
    "geometric_median": "geometric median of 7 updates",
    "centered_clipping": "centered clipping of 7 updates",
}
ONE_ROUND = noop(4096, rounds=1, shards=SHARDS)


@pytest.mark.parametrize("rule", RULES)
def test_a_job_is_verified_and_says_what_its_rule_did(stack: Stack, trainnet: Command, rule: str) -> None:
    job = finish(stack, replace(ONE_ROUND, asked=(("rule", rule),)).start(stack.client))
    assert_invariants(stack, job)
    (found,) = job.rounds
    assert found.decision.startswith(f"all {SHARDS} shards accepted; {RULES[rule]}")
    assert (job.rule, job.rule_settings["byzantine"]) == (rule, 1)
    assert rule in trainnet("jobs", "show", job.id).out


def test_a_rule_goes_with_a_strategy_and_clipping(stack: Stack) -> None:
    numbers = {"bucket_size": 2, "norm_clip": 2, "server_learning_rate": 0.5}
    asked = (("rule", "geometric_median"), ("merge_settings", numbers))
    job = finish(stack, replace(ONE_ROUND, rounds=2, merge="diloco", asked=asked).start(stack.client))
    assert_invariants(stack, job)
    assert "geometric median of 7 updates in 4 buckets" in job.rounds[0].decision


def test_everything_at_once(stack: Stack, trainnet: Command) -> None:
    asked = ("--merge", "robust", "--codec", "topk", "--codec-set", "chunk_size=256", "--keep-optimizer")
    rounds = ("--rounds", "2", "--shards", "9", "--sample", "6", "--quorum", "5", "--deadline", "1m")
    made = trainnet("train", "-a", "noop", "--set", "params=4096", *asked, *rounds, "--backup-after", "3", "--json")
    job = finish(stack, stack.client.jobs.get(made.json["job"]))
    assert_invariants(stack, job)
    assert all(len(found.sampled_shards) == 6 for found in job.rounds)
    assert job.rounds[0].sampled_shards != job.rounds[1].sampled_shards
    told = trainnet("jobs", "show", job.id).out
    for words in ("centered_clipping (byzantine=1, bucket_size=2", "topk (chunk_size=256", "for 6 of 9 shards", "6/6"):
        assert words in told


def test_more_harmful_updates_than_a_rule_bears_are_refused_at_once(trainnet: Command) -> None:
    answer = trainnet("train", "-a", "noop", "--shards", "6", "--rule", "krum", "--merge-set", "byzantine=2")
    answer.complaint(2, "KRUM bears at most 1 harmful of 6 updates, not 2: say byzantine=1")
