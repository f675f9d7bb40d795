"""A job from its creation to its model, driven over gRPC by scripted peers."""

import json

from services.coordinator.tests.invariants import assert_invariants
from services.coordinator.tests.running import Coordinator
from services.coordinator.tests.support import noop_spec, vector
from trainnet.v1 import job_pb2, task_pb2, worker_pb2


async def test_a_job_trains_two_rounds_and_succeeds(coordinator: Coordinator) -> None:
    job = await coordinator.create(noop_spec(rounds_=2, shards=2, display_name="First Steps"))
    assert job.name.startswith("jobs/first-steps-")
    assert job.state == job_pb2.JOB_STATE_PREPARING
    worker = await coordinator.worker(slots=2)

    initialize = await worker.take_kind(task_pb2.TASK_KIND_INITIALIZE)
    assert initialize.spec.initialize.model.architecture == "noop"
    await worker.hand_in(initialize, [0.0, 0.0])
    seeds = set()
    for number in (1, 2):
        for assignment in await worker.assigned(2):
            lease = await worker.accept(assignment.fence)
            train = lease.spec.train
            assert (train.round, lease.kind) == (number, task_pb2.TASK_KIND_TRAIN)
            seeds.add(train.seed)
            delta = [1.0, 2.0] if train.shard_index == 0 else [3.0, 4.0]
            await worker.hand_in(lease, delta)
        running = await coordinator.job(job.name)
        assert running.state == job_pb2.JOB_STATE_RUNNING
        await coordinator.aggregator.check()
        await coordinator.aggregator.check()
        await coordinator.aggregator.merge()
    assert len(seeds) == 4

    done = await coordinator.job_in(job.name, "SUCCEEDED")
    assert [item.state for item in done.rounds] == [job_pb2.ROUND_STATE_MERGED] * 2
    assert [item.decision for item in done.rounds] == ["all 2 shards accepted"] * 2
    assert done.merged_rounds == 2
    assert done.rounds[1].base == done.rounds[0].merged
    for entry in done.rounds[0].manifest:
        assert (entry.worker, entry.examples) == (worker.name, 1)
        times = entry.times
        steps = [times.ready, times.assigned, times.leased, times.declared, times.received, times.claimed]
        moments = [step.ToNanoseconds() for step in (*steps, times.accepted)]
        assert moments == sorted(moments)

    view = await coordinator.jobs.GetRound(job_pb2.GetRoundRequest(name=done.rounds[1].name))
    assert view.round.verifiable
    assert vector(coordinator.aggregator.get(view.round.merged)) == [4.0, 6.0]
    model = await coordinator.jobs.GetModel(job_pb2.GetModelRequest(name=job.name))
    assert [item.path for item in model.files] == ["model.safetensors", "config.json", "README.md"]
    assert model.files[0].sha256 == done.rounds[1].merged_sha256
    assert json.loads(model.files[1].inline)["hyperparameters"] == {"params": 1024}
    assert b'"params": 1024\n' in model.files[1].inline, "a whole number stays one"
    await assert_invariants(coordinator.database, coordinator.store)


async def test_verdicts_reach_the_worker(coordinator: Coordinator) -> None:
    await coordinator.create(noop_spec(shards=1))
    worker = await coordinator.worker()
    await worker.hand_in(await worker.take())
    lease = await worker.take_kind(task_pb2.TASK_KIND_TRAIN)
    await worker.hand_in(lease)
    await coordinator.aggregator.check()
    verdict = await worker.result(lease.fence)
    assert verdict.outcome == worker_pb2.OUTCOME_ACCEPTED
