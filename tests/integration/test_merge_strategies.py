"""Jobs of every merge strategy on a real stack: recomputed by the client, refused where they make no sense."""

import pytest

from tests.integration.conftest import KEEP_ROUNDS
from tests.support.command import Command
from tests.support.invariants import assert_invariants
from tests.support.jobs import finish, merged, noop, states
from tests.support.stacks import Stack

STRATEGIES = ("fedavgm", "diloco", "fedadam", "fedyogi", "fedadagrad")
# None of them is collected while it is looked at.
ROUNDS = KEEP_ROUNDS


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_job_is_verified(stack: Stack, trainnet: Command, strategy: str) -> None:
    job = finish(stack, noop(1024, rounds=ROUNDS, shards=2, merge=strategy).start(stack.client))
    assert_invariants(stack, job)
    assert len(set(states(job))) == ROUNDS
    assert job.merge == strategy
    assert "server_learning_rate" in job.merge_settings
    (last,) = trainnet("jobs", "verify", job.id, "--round", str(ROUNDS), "--json").json["rounds"]
    assert last["result"] == "ok"
    assert last["recomputed_sha256"] == merged(job)[-1]
    assert strategy in trainnet("jobs", "show", job.id).out


def test_strategies_make_different_models_of_the_same_updates(stack: Stack) -> None:
    models = [
        merged(finish(stack, noop(1024, rounds=1, shards=2, merge=strategy).start(stack.client)))[0]
        for strategy in ("fedavg", "diloco", "fedadam")
    ]
    assert len(set(models)) == 3


def test_a_number_that_the_strategy_does_not_have(trainnet: Command) -> None:
    answer = trainnet("train", "-a", "noop", "--merge", "diloco", "--merge-set", "beta1=0.5")
    answer.complaint(2, "(diloco) has no beta1")
