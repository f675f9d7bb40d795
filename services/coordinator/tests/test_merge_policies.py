"""Merge policies: defaults, what is refused, and the optimiser's state on its way from round to round."""

from typing import Any

import pytest
from google.protobuf import json_format

from services.coordinator.tests.scene import Scene, keys
from trainnet.coordinator.domain import codecs, merging, names, rules
from trainnet.coordinator.storage.schema import attempts, rounds
from trainnet.coordinator.usecases.jobs import completed
from trainnet.coordinator.usecases.merging import MAX_MERGE_FAILURES
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import codec_pb2, job_pb2, merge_pb2, task_pb2

DILOCO = job_pb2.MergePolicy(strategy=job_pb2.MERGE_STRATEGY_NESTEROV)


def policy_of(**fields: Any) -> job_pb2.MergePolicy:
    spec = job_pb2.JobSpec(architecture="noop", merge=job_pb2.MergePolicy(**fields))
    return completed(spec).merge


def test_every_strategy_of_the_contract_has_its_numbers() -> None:
    contract = {name.removeprefix("MERGE_STRATEGY_") for name in job_pb2.MergeStrategy.DESCRIPTOR.values_by_name}
    contract.remove("UNSPECIFIED")
    assert merging.STRATEGIES.keys() == contract
    fields = {name for name, field in job_pb2.MergePolicy.DESCRIPTOR.fields_by_name.items() if field.has_presence}
    assert fields == {*merging.NUMBERS, *rules.NUMBERS}
    assert set().union(*merging.STRATEGIES.values()) == set(merging.NUMBERS)
    contract = {name.removeprefix("AGGREGATION_RULE_") for name in job_pb2.AggregationRule.DESCRIPTOR.values_by_name}
    contract.remove("UNSPECIFIED")
    assert rules.RULES.keys() == contract
    assert set().union(*rules.RULES.values()) == set(rules.NUMBERS)


def test_every_codec_of_the_contract_has_its_numbers() -> None:
    contract = {name.removeprefix("CODEC_KIND_") for name in codec_pb2.CodecKind.DESCRIPTOR.values_by_name}
    contract.remove("UNSPECIFIED")
    assert codecs.CODECS.keys() == contract
    fields = {name for name, field in codec_pb2.Codec.DESCRIPTOR.fields_by_name.items() if field.has_presence}
    assert fields == set(codecs.NUMBERS) == set().union(*codecs.CODECS.values())


@pytest.mark.parametrize("strategy", merging.STRATEGIES)
def test_defaults_are_filled_in_and_what_was_given_stays(strategy: str) -> None:
    number = job_pb2.MergeStrategy.Value(f"MERGE_STRATEGY_{strategy}")
    found = json_format.MessageToDict(policy_of(strategy=number), preserving_proto_field_name=True)
    mean = {"rule": "AGGREGATION_RULE_MEAN", "norm_clip": 0.0}
    assert found == {"strategy": f"MERGE_STRATEGY_{strategy}", **mean, **merging.STRATEGIES[strategy]}
    for field in merging.STRATEGIES[strategy]:
        given = {field: 0.0 if field in ("server_momentum", "beta1") else 0.5}
        assert getattr(policy_of(strategy=number, **given), field) == given[field]


def test_a_job_that_says_nothing_takes_the_mean() -> None:
    assert policy_of().strategy == job_pb2.MERGE_STRATEGY_FEDAVG


@pytest.mark.parametrize(
    ("strategy", "field", "remedy"),
    [
        (job_pb2.MERGE_STRATEGY_UNSPECIFIED, "server_learning_rate", "no numbers"),
        (job_pb2.MERGE_STRATEGY_NESTEROV, "beta1", "choose one of FEDADAM, FEDYOGI"),
        (job_pb2.MERGE_STRATEGY_FEDADAM, "server_momentum", "choose one of FEDAVGM, NESTEROV"),
        (job_pb2.MERGE_STRATEGY_FEDADAGRAD, "beta2", "it has server_learning_rate, epsilon"),
    ],
)
def test_a_number_without_effect_is_refused(strategy: job_pb2.MergeStrategy, field: str, remedy: str) -> None:
    with pytest.raises(InvalidArgument, match=remedy) as raised:
        policy_of(strategy=strategy, **{field: 0.5})
    assert raised.value.violations[0].field == f"spec.merge.{field}"


async def test_the_state_goes_from_round_to_round(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, rounds=3, merge=DILOCO)
    works, reports = [], []
    for _ in range(3):
        await scene.done(worker)
        await scene.check()
        task = await scene.claim(task_pb2.TASK_KIND_MERGE)
        works.append(task.merge)
        reports.append(await scene.merge(task))
    assert works[0].policy.server_momentum == 0.9
    assert not works[0].HasField("optimizer_state")
    for work, report in zip(works[1:], reports, strict=False):
        assert work.optimizer_state == report.optimizer_state
    assert len({work.optimizer_key for work in works} | {work.key for work in works}) == 6

    told = await scene.jobs.round(names.round_of(job, 2))
    assert told.merge == works[1].policy
    assert told.optimizer_state_sha256 == "1" * 64
    for artifact, report in ((told.base_optimizer_state, reports[0]), (told.optimizer_state, reports[1])):
        assert artifact.HasField("download")
        assert artifact.digest == report.optimizer_state.digest
    first = (await scene.view(job)).rounds[0]
    assert not first.HasField("base_optimizer_state")
    assert first.optimizer_state.key == reports[0].optimizer_state.key
    assert not first.HasField("merge"), "a job says its policy once, not with every round"


async def test_a_mean_keeps_no_state(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker)
    await scene.done(worker)
    await scene.check()
    task = await scene.claim(task_pb2.TASK_KIND_MERGE)
    assert not task.merge.optimizer_key
    await scene.merge(task)
    assert not (await scene.jobs.round(names.round_of(job, 1))).HasField("optimizer_state")


async def test_a_merge_by_an_aggregator_that_does_not_know_the_policy_does_not_count(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, merge=DILOCO)
    await scene.done(worker)
    await scene.check()
    task = await scene.claim(task_pb2.TASK_KIND_MERGE)
    old = merge_pb2.MergeTask()
    old.CopyFrom(task)
    old.merge.ClearField("optimizer_key")
    with pytest.raises(InvalidArgument, match="up to date"):
        await scene.merge(old)
    assert (await scene.row(rounds, job=job)).state == "MERGING"
    assert (await scene.row(attempts, fence=task.fence)).state == "FAILED"
    scene.now += 60
    again = await scene.claim(task_pb2.TASK_KIND_MERGE)
    assert again.fence > task.fence
    await scene.merge(again)
    assert (await scene.row(rounds, job=job)).state == "MERGED"


async def test_a_job_that_no_aggregator_can_merge_fails_and_says_why(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, merge=DILOCO)
    await scene.done(worker)
    await scene.check()
    for _ in range(MAX_MERGE_FAILURES):
        scene.now += 60
        old = await scene.claim(task_pb2.TASK_KIND_MERGE)
        old.merge.ClearField("optimizer_key")
        with pytest.raises(InvalidArgument):
            await scene.merge(old)
    view = await scene.view(job)
    assert view.state == job_pb2.JOB_STATE_FAILED
    assert "bring the aggregator up to date" in view.state_message


async def test_states_are_collected_with_the_weights_and_deleted_with_the_job(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.training(worker, rounds=5, merge=DILOCO)
    for _ in range(5):
        await scene.whole_round(worker)
    while await scene.retention.collect():
        pass

    def stored() -> list[int]:
        return [int(key.split("/")[3]) for key in keys(scene.store, [f"jobs/{job}/"]) if "optimizer" in key]

    keep = scene.settings.keep_rounds
    # As its weights, the state before the oldest verifiable round is needed to verify it.
    assert stored() == list(range(5 - keep, 6))
    await scene.jobs.delete(names.job(job))
    assert stored() == []
