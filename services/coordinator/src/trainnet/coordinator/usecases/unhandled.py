"""Settings of the contract that no part handles yet. They are refused: one that is silently ignored would train a model
by other rules than its owner chose."""

from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import codec_pb2, job_pb2


def refuse(spec: job_pb2.JobSpec) -> None:
    """Raises InvalidArgument that names the first setting which nobody would act on."""
    if spec.codec.kind not in (codec_pb2.CODEC_KIND_UNSPECIFIED, codec_pb2.CODEC_KIND_FP32):
        raise _unhandled("codec.kind", "updates travel as fp32")
    if spec.keep_optimizer:
        raise _unhandled("keep_optimizer", "the optimiser of a worker begins afresh in each round")


def _unhandled(field: str, instead: str) -> InvalidArgument:
    return InvalidArgument(f"{field} is not handled yet: leave it out ({instead})", field=f"spec.{field}")
