"""What nobody handles yet is refused, never ignored."""

from typing import Any

import pytest

from trainnet.coordinator.usecases.jobs import completed
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import codec_pb2, job_pb2


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("codec.kind", {"codec": codec_pb2.Codec(kind=codec_pb2.CODEC_KIND_TOPK)}),
        ("keep_optimizer", {"keep_optimizer": True}),
    ],
)
def test_a_setting_without_effect_is_refused(field: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="not handled yet") as raised:
        completed(job_pb2.JobSpec(architecture="noop", **settings))
    assert raised.value.violations[0].field == f"spec.{field}"


def test_what_is_done_anyway_may_be_said() -> None:
    merge = job_pb2.MergePolicy(rule=job_pb2.AGGREGATION_RULE_MEAN)
    codec = codec_pb2.Codec(kind=codec_pb2.CODEC_KIND_FP32)
    completed(job_pb2.JobSpec(architecture="noop", merge=merge, codec=codec))
