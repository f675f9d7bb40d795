"""When rounds close, how shards are grouped, what names look like."""

import re

from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain import names
from trainnet.coordinator.domain.rounds import ONE_GROUP_BYTES, decide_close, group_size
from trainnet.coordinator.domain.states import ENDED_TASKS, LIVE_ATTEMPTS, AttemptState, TaskState


def test_a_round_goes_on_until_its_last_shard() -> None:
    decision = decide_close(4, 3, 0, [])
    assert not decision.close
    assert not decision.fail


def test_a_round_closes_with_its_last_shard() -> None:
    decision = decide_close(4, 4, 0, [])
    assert (decision.close, decision.reason) == (True, "all 4 shards accepted")


def test_a_round_fails_with_every_reason_once() -> None:
    decision = decide_close(4, 2, 2, ["shard 1 was bad", "shard 1 was bad", "shard 3 too"])
    assert decision.fail
    assert decision.reason == "2 of 4 shards given up: shard 1 was bad; shard 3 too"


@given(st.integers(1, 100_000), st.integers(1, 20_000_000_000))
def test_groups_are_few_and_small(shards: int, update_bytes: int) -> None:
    size = group_size(shards, update_bytes)
    groups = -(-shards // size)
    assert 1 <= size <= shards
    if shards * update_bytes <= ONE_GROUP_BYTES:
        assert groups == 1
    else:
        assert max(groups, size) <= shards**0.5 + 1


def test_states_are_told_apart() -> None:
    assert TaskState.CHECKING not in ENDED_TASKS
    assert AttemptState.EXPIRED not in LIVE_ATTEMPTS


@given(st.text(max_size=200))
def test_ids_are_tokens_of_the_contract(label: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", names.new_id(label))


def test_keys_tell_attempts_apart() -> None:
    assert names.update_key("j", 1, 2, 3, "aa") != names.update_key("j", 1, 2, 4, "aa")
    assert names.parse_round(names.round_of("j", 12)) == ("j", 12)
    assert names.partial_key("j", 1, [(0, "d", 1.0)]) != names.partial_key("j", 1, [(0, "d", 2.0)])
