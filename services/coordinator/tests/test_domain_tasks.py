"""Who is given a task again, and when it is given up: distinct workers count, strangers alone decide nothing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain.tasks import (
    FREE_RETURNS,
    MAX_FAILED,
    MAX_LOST,
    MAX_REPEATS,
    Crowd,
    History,
    Mishap,
    Step,
    Verdict,
    abandoned,
    after_mishap,
    noted,
    shunned,
    told,
)

MANY = Crowd(fresh=True, untried=True)
NOBODY_ELSE = Crowd(fresh=False, untried=True)
ALL_FAILED = Crowd(fresh=False, untried=False)
mishaps = st.sampled_from(Mishap)


def after(
    *events: tuple[str, Mishap], crowd: Crowd = MANY, public: bool = False, trusted: bool = True
) -> tuple[Verdict, History]:
    """The verdict after the last of these events; every worker is trusted or none is."""
    history: History = {}
    verdict = Verdict(Step.AGAIN, "")
    for worker, mishap in events:
        history = noted(history, worker, trusted=trusted, mishap=mishap, message="no memory")
        verdict = after_mishap(history, worker, mishap, crowd, public=public)
    return verdict, history


def many(count: int, mishap: Mishap) -> list[tuple[str, Mishap]]:
    return [(f"w{number}", mishap) for number in range(count)]


@pytest.mark.parametrize(("mishap", "limit"), [(Mishap.FAILED, MAX_FAILED), (Mishap.LOST, MAX_LOST)])
def test_different_workers_count(mishap: Mishap, limit: int) -> None:
    assert after(*many(limit - 1, mishap))[0].step is Step.AGAIN
    assert after(*many(limit, mishap))[0].step is Step.QUARANTINE


@pytest.mark.parametrize("mishap", [Mishap.FAILED, Mishap.LOST])
def test_one_worker_counts_once_however_often_it_comes(mishap: Mishap) -> None:
    assert after(*[("ada", mishap)] * MAX_LOST)[0].step is Step.AGAIN


@pytest.mark.parametrize("mishap", [Mishap.FAILED, Mishap.LOST, Mishap.RETURNED])
def test_no_loop_is_endless(mishap: Mishap) -> None:
    """Not even of a worker that gets a task again and again because somebody better never has time for it."""
    verdict, _ = after(*[("ada", mishap)] * (MAX_REPEATS + FREE_RETURNS + 1))
    assert verdict.step is Step.QUARANTINE


def test_alone_a_failure_is_final_and_losses_count_by_number() -> None:
    assert after(("ada", Mishap.FAILED), crowd=ALL_FAILED)[0].step is Step.QUARANTINE
    assert after(*[("ada", Mishap.LOST)] * (MAX_LOST - 1), crowd=NOBODY_ELSE)[0].step is Step.AGAIN
    assert after(*[("ada", Mishap.LOST)] * MAX_LOST, crowd=NOBODY_ELSE)[0].step is Step.QUARANTINE
    returned = FREE_RETURNS + MAX_LOST
    assert after(*[("ada", Mishap.RETURNED)] * (returned - 1), crowd=NOBODY_ELSE)[0].step is Step.AGAIN
    assert after(*[("ada", Mishap.RETURNED)] * returned, crowd=NOBODY_ELSE)[0].step is Step.QUARANTINE


def test_a_failure_is_not_final_while_somebody_may_try_who_only_lost_it() -> None:
    events = [("ada", Mishap.LOST), ("bob", Mishap.FAILED)]
    assert after(*events, crowd=NOBODY_ELSE)[0].step is Step.AGAIN


def test_what_nobody_accepted_or_gave_back_unharmed_never_counts() -> None:
    for crowd in (MANY, ALL_FAILED):
        assert after(*many(50, Mishap.IGNORED), crowd=crowd)[0].step is Step.AGAIN
        assert after(*[("ada", Mishap.IGNORED)] * 50, crowd=crowd)[0].step is Step.AGAIN
        assert after(*many(50, Mishap.RETURNED), crowd=crowd)[0].step is Step.AGAIN


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), mishaps), max_size=60), st.booleans(), st.booleans())
def test_strangers_alone_never_give_a_task_up_while_a_trusted_worker_is_there(
    events: list[tuple[str, Mishap]], fresh: bool, untried: bool
) -> None:
    crowd = Crowd(fresh, fresh or untried, trusted=True)
    verdict, history = after(*events, crowd=crowd, public=True, trusted=False)
    assert verdict.step is not Step.QUARANTINE
    # Once it is left to the trusted, what strangers did and do is not heard.
    if events:
        worker, mishap = events[-1]
        assert after_mishap(history, worker, mishap, ALL_FAILED, public=False).step is Step.AGAIN


def test_strangers_are_heard_where_nobody_is_trusted() -> None:
    verdict, _ = after(*many(3, Mishap.FAILED), public=True, trusted=False)
    assert verdict.step is Step.QUARANTINE
    assert verdict.reason.endswith("stranger w2 (no memory); no trusted worker is there to try it")


def test_after_strangers_the_trusted_decide_alone() -> None:
    history: History = {}
    for worker in ("eve", "mallory", "oscar"):
        history = noted(history, worker, trusted=False, mishap=Mishap.FAILED, message="poison")
    crowd = Crowd(fresh=True, untried=True, trusted=True)
    verdict = after_mishap(history, "oscar", Mishap.FAILED, crowd, public=True)
    assert verdict.step is Step.ESCALATE
    assert verdict.reason.startswith("left to trusted workers: failed by stranger eve (poison), stranger mallory")
    history = noted(history, "ada", trusted=True, mishap=Mishap.FAILED, message="no memory")
    assert after_mishap(history, "ada", Mishap.FAILED, MANY, public=False).step is Step.AGAIN
    verdict = after_mishap(history, "ada", Mishap.FAILED, ALL_FAILED, public=False)
    assert (verdict.step, verdict.reason) == (Step.QUARANTINE, "failed by ada (no memory)")


def test_who_and_why_is_told_and_not_at_any_length() -> None:
    events = [*many(8, Mishap.FAILED), ("cyd", Mishap.LOST), ("cyd", Mishap.LOST)]
    _, history = after(*events)
    assert told(history) == (
        "failed by w0 (no memory), w1 (no memory), w2 (no memory), w3 (no memory), w4 (no memory) and 3 more; "
        "lost by cyd (no memory, 2 times)"
    )
    long = noted({}, "eve", trusted=False, mishap=Mishap.FAILED, message="x" * 10_000)
    assert len(abandoned(long)) < 300


def test_who_spoiled_a_task_is_shunned_and_who_slipped_once_is_not() -> None:
    events = [("a", Mishap.FAILED), ("b", Mishap.LOST), ("c", Mishap.RETURNED), ("d", Mishap.IGNORED)]
    _, history = after(*events)
    assert shunned(history).spent == {"a", "b"}
    assert shunned(history).failed == {"a"}
    _, history = after(*itertools.chain(events, events))
    assert shunned(history).spent == {"a", "b", "c", "d"}
