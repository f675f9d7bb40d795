"""A worker that cannot reach NATS hears no doorbell; what it is to do stands in its session's desired state."""

from collections.abc import Iterator

import pytest

from tests.support.invariants import assert_invariants
from tests.support.jobs import finish, noop
from tests.support.stacks import Stack, running

pytestmark = pytest.mark.timeout(300)

MODEL = noop(1024, rounds=3, shards=4)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Workers are sent to a NATS where nobody listens; coordinator and aggregator have theirs."""
    settings = {"TRAINNET_NATS_PUBLIC_URL": "nats://127.0.0.1:1"}
    with running(tmp_path_factory.mktemp("deaf"), workers=2, settings=settings) as stack:
        yield stack


def test_workers_that_cannot_reach_nats_still_work(stack: Stack) -> None:
    stack.wait_healthy()
    job = finish(stack, MODEL.start(stack.client))
    assert_invariants(stack, job)
    for worker in stack.children("worker-"):
        assert "refused" in stack.log(worker), f"{worker} never tried NATS"
        assert "doorbell stands" not in stack.log(worker), f"{worker} reached NATS after all"


def test_a_job_that_starts_while_nats_is_down_for_all(stack: Stack) -> None:
    stack.wait_healthy()
    stack.local.hold_down("nats")
    try:
        assert "nats" not in stack.local.pids
        job = finish(stack, MODEL.start(stack.client))
        waiting = stack.rows.one("SELECT count(*) AS events FROM outbox")
        assert waiting is not None
        assert waiting["events"] > 0, "events of the job are lost: neither published nor in the outbox"
    finally:
        stack.local.bring_up("nats")
    assert_invariants(stack, job)
