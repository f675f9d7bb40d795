"""Codecs of jobs: completed when the job is created."""

from trainnet.coordinator.domain import codecs
from trainnet.coordinator.domain.choices import BadChoice
from trainnet.runtime.errors import InvalidArgument
from trainnet.v1 import codec_pb2, job_pb2


def complete(codec: codec_pb2.Codec) -> None:
    """Fills in what its owner left out, in place. Raises InvalidArgument that names the field."""
    codec.kind = codec.kind or codec_pb2.CODEC_KIND_FP32
    given = {field: getattr(codec, field) for field in codecs.NUMBERS if codec.HasField(field)}
    try:
        numbers = codecs.complete(kind_of(codec), given)
    except BadChoice as error:
        raise InvalidArgument(str(error), field=f"spec.codec.{error.field}") from None
    for field, value in numbers.items():
        setattr(codec, field, float(value) if field == "feedback" else int(value))


def kind_of(codec: codec_pb2.Codec) -> str:
    """Its name without prefix."""
    return codec_pb2.CodecKind.Name(codec.kind or codec_pb2.CODEC_KIND_FP32).removeprefix("CODEC_KIND_")


def keeps_something(spec: job_pb2.JobSpec) -> bool:
    """Whether workers keep anything of a shard from one round to the next."""
    return spec.keep_optimizer or codecs.keeps_error(kind_of(spec.codec), spec.codec.feedback)
