"""Makes what a job starts from."""

from __future__ import annotations

import shutil

from trainnet.v1.task_pb2 import InitializeResult, InitializeSpec, TaskResult
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.files import finished_file
from trainnet.worker.trainer.models import configuration, lora
from trainnet.worker.trainer.models.bases import find_base, put
from trainnet.worker.trainer.models.build import whole_model
from trainnet.worker.trainer.models.bundle import write_bundle
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.model import Model
from trainnet.worker.trainer.models.parts import make_parts
from trainnet.worker.trainer.weights import write_weights


def initialize(spec: InitializeSpec, context: TaskContext) -> TaskResult:
    """Writes `base`, and `bundle` and `frozen` where the architecture has them.

    Fixed by the spec and its inputs: the seed makes what no base brings. Raises TaskError.
    """
    context.loading()
    family = FAMILIES.get(spec.model.architecture)
    scratch = context.out / "scratch"
    scratch.mkdir()
    base = find_base(spec, context.inputs, scratch)
    context.check_cancelled()
    parts = None
    if family is not None:
        parts = make_parts(family, spec.model, None if base is None else base.parts, context.inputs.get("sample"))
    whole = whole_model(spec.model, spec.seed, parts)
    if base is not None:
        config = None if family is None or parts is None else configuration.read(family, parts)
        put(base, base.weights(family, config), whole, family, spec.model)
    parameters = _count(whole)
    context.check_cancelled()

    context.encoding()
    trained = whole
    if parts is not None:
        bundle = context.out / "bundle.zip"
        write_bundle(bundle, parts)
        context.output(finished_file("bundle", bundle))
    if family is not None and lora.rank(family, spec.model):
        context.output(write_weights("frozen", context.out / "frozen.safetensors", whole.weights()))
        trained = lora.adapt(whole, family, spec.model, spec.seed)
        parameters = sum(parameter.numel() for parameter in trained.module.parameters())
    weights, buffers = trained.weights(), trained.buffers()
    context.output(write_weights("base", context.out / "base.safetensors", weights, buffers))
    shutil.rmtree(scratch)
    return TaskResult(
        initialize=InitializeResult(
            trainable_parameters=_count(trained),
            parameters=parameters,
            base_revision="" if base is None else base.revision,
        )
    )


def _count(model: Model) -> int:
    return sum(tensor.numel() for tensor in model.weights().values())
