"""Which task goes where: properties that hold for any crowd."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trainnet.coordinator.domain.scheduling import Candidate, ReadyTask, eligible, match
from trainnet.coordinator.domain.states import Pool
from trainnet.coordinator.domain.tasks import Shunned

WORKERS = [f"w{number}" for number in range(5)]
DIGESTS = ["a", "b", "c", ""]
ARCHITECTURES = ["cnn", "mlp", ""]

pools = st.sampled_from(Pool)
candidates = st.lists(
    st.builds(
        Candidate,
        worker=st.sampled_from(WORKERS),
        free_slots=st.integers(0, 3),
        pool=pools,
        architectures=st.frozensets(st.sampled_from(["cnn", "mlp"])),
        cached=st.frozensets(st.sampled_from(["a", "b", "c"])),
    ),
    unique_by=lambda candidate: candidate.worker,
)
tasks = st.lists(
    st.builds(
        ReadyTask,
        id=st.integers(1, 50),
        priority=st.sampled_from([0, 10, 20]),
        pool=pools,
        architecture=st.sampled_from(ARCHITECTURES),
        shard_digest=st.sampled_from(DIGESTS),
        last_worker=st.sampled_from(["", *WORKERS]),
        shunned=st.builds(
            lambda spent, failed: Shunned(spent | failed, failed),
            st.frozensets(st.sampled_from(WORKERS), max_size=2),
            st.frozensets(st.sampled_from(WORKERS), max_size=2),
        ),
        lingers=st.booleans(),
    ),
    unique_by=lambda task: task.id,
    max_size=12,
)


@given(tasks, candidates)
def test_slots_pools_and_capabilities_are_respected(ready: list[ReadyTask], crowd: list[Candidate]) -> None:
    matches = match(ready, crowd)
    by_task = {task.id: task for task in ready}
    by_worker = {candidate.worker: candidate for candidate in crowd}
    assert len({item.task for item in matches}) == len(matches)
    for worker, given_out in Counter(item.worker for item in matches).items():
        assert given_out <= by_worker[worker].free_slots
    for item in matches:
        assert eligible(by_task[item.task], by_worker[item.worker])


@given(tasks, candidates)
def test_a_worker_that_spoiled_a_task_gets_it_again_only_when_nobody_better_is_there(
    ready: list[ReadyTask], crowd: list[Candidate]
) -> None:
    by_task = {task.id: task for task in ready}
    for item in match(ready, crowd):
        task = by_task[item.task]
        able = {candidate.worker for candidate in crowd if eligible(task, candidate)}
        if item.worker in task.shunned.spent and not task.lingers:
            assert able <= task.shunned.spent
        if item.worker in task.shunned.failed and not task.lingers:
            assert able <= task.shunned.failed


@given(tasks, candidates)
def test_no_slot_stays_idle_for_a_task_that_it_could_take(ready: list[ReadyTask], crowd: list[Candidate]) -> None:
    matches = match(ready, crowd)
    used = Counter(item.worker for item in matches)
    left = [task for task in ready if task.id not in {item.task for item in matches}]
    for task in left:
        for candidate in crowd:
            idle = candidate.free_slots > used[candidate.worker]
            may = task.lingers or candidate.worker not in task.shunned.spent
            assert not (idle and may and eligible(task, candidate))


@given(tasks, candidates, st.randoms(use_true_random=False))
def test_the_order_of_the_tasks_changes_nothing(ready: list[ReadyTask], crowd: list[Candidate], random: object) -> None:
    shuffled = sorted(ready, key=lambda task: hash((task.id, str(random))))
    assert match(shuffled, crowd) == match(ready, crowd)


def worker(name: str, free: int = 1, cached: tuple[str, ...] = (), pool: Pool = Pool.TRUSTED) -> Candidate:
    return Candidate(name, free, pool, frozenset({"cnn"}), frozenset(cached))


def shard(number: int, **fields: object) -> ReadyTask:
    return ReadyTask(number, 10, Pool.TRUSTED, "cnn", **fields)  # type: ignore[arg-type]


def test_shards_go_back_to_who_trained_them_last() -> None:
    crowd = [worker("a"), worker("b"), worker("c")]
    ready = [shard(1, last_worker="c"), shard(2, last_worker="a"), shard(3, last_worker="b")]
    assert {(item.task, item.worker) for item in match(ready, crowd)} == {(1, "c"), (2, "a"), (3, "b")}


def test_shards_go_to_who_caches_them() -> None:
    crowd = [worker("a", cached=("y",)), worker("b", cached=("x",))]
    ready = [shard(1, shard_digest="x"), shard(2, shard_digest="y")]
    assert {(item.task, item.worker) for item in match(ready, crowd)} == {(1, "b"), (2, "a")}


def test_a_shard_does_not_wait_for_its_busy_home() -> None:
    crowd = [worker("a", free=0, cached=("x",)), worker("b")]
    (only,) = match([shard(1, shard_digest="x", last_worker="a")], crowd)
    assert only.worker == "b"


def test_what_unblocks_a_job_goes_first() -> None:
    ready = [ReadyTask(1, 20, Pool.TRUSTED), ReadyTask(2, 10, Pool.TRUSTED), ReadyTask(3, 0, Pool.TRUSTED)]
    assert [item.task for item in match(ready, [worker("a", free=2)])] == [3, 2]


def test_strangers_get_no_trusted_task() -> None:
    assert match([shard(1)], [worker("a", pool=Pool.PUBLIC)]) == []


def test_a_task_waits_for_a_busy_worker_rather_than_go_back_to_who_lost_it() -> None:
    lost = Shunned(frozenset({"a"}))
    assert match([shard(1, shunned=lost)], [worker("a"), worker("b", free=0)]) == []
    (only,) = match([shard(1, shunned=lost, lingers=True)], [worker("a"), worker("b", free=0)])
    assert only.worker == "a"
    (only,) = match([shard(1, shunned=lost)], [worker("a")])
    assert only.worker == "a"


def test_of_two_that_spoiled_it_the_one_that_lost_it_goes_first() -> None:
    spoiled = Shunned(frozenset({"a", "b"}), failed=frozenset({"b"}))
    (only,) = match([shard(1, shunned=spoiled)], [worker("a"), worker("b", free=3)])
    assert only.worker == "a"
