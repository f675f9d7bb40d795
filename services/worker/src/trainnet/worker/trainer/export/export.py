"""Makes the folder that the owner downloads."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from trainnet.v1.task_pb2 import ExportSpec, TaskResult
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.export import card, plots
from trainnet.worker.trainer.export.plain import plain_config
from trainnet.worker.trainer.export.provenance import provenance
from trainnet.worker.trainer.files import finished_file
from trainnet.worker.trainer.models.build import build_model
from trainnet.worker.trainer.models.bundle import CONFIG, read_bundle, to_json
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.folder import WEIGHTS
from trainnet.worker.trainer.models.lora import AdaptedModel
from trainnet.worker.trainer.weights import read_weights, write_weights


def export(spec: ExportSpec, context: TaskContext) -> TaskResult:
    """Writes `model/<path>` for each file of the folder. The same spec gives the same bytes. Raises TaskError."""
    context.loading()
    folder = context.out / "model"
    folder.mkdir()
    if spec.model.architecture in FAMILIES:
        _transformers_folder(spec, context, folder)
    else:
        _plain_folder(spec, context, folder)
    context.check_cancelled()
    for name, image in plots.draw(spec).items():
        (folder / name).write_bytes(image)
    (folder / "provenance.json").write_bytes(to_json(provenance(spec)))
    files = sorted(path.name for path in folder.iterdir())
    with (folder / WEIGHTS).open("rb") as weights:
        sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
    (folder / "README.md").write_text(card.write(spec, files, sha256), encoding="utf-8")

    context.encoding()
    for path in sorted(folder.iterdir()):
        context.output(finished_file(f"model/{path.name}", path))
    return TaskResult()


def _transformers_folder(spec: ExportSpec, context: TaskContext, folder: Path) -> None:
    bundle = context.inputs["bundle"]
    model = build_model(spec.model, 0, bundle, context.inputs.get("frozen"))
    model.load(read_weights(context.inputs["weights"]))
    if isinstance(model, AdaptedModel):
        model = model.merge()
    # transformers writes the names that all its versions read, and tied weights once.
    model.module.save_pretrained(folder)  # type: ignore[operator]  # every transformers model has it
    for name, content in read_bundle(bundle).items():
        if name != CONFIG:
            (folder / name).write_bytes(content)


def _plain_folder(spec: ExportSpec, context: TaskContext, folder: Path) -> None:
    (folder / CONFIG).write_bytes(to_json(plain_config(spec.model)))
    source, target = context.inputs["weights"], folder / WEIGHTS
    if spec.model.architecture == "noop":
        shutil.copyfile(source, target)
        return
    model = build_model(spec.model, 0)
    model.load(read_weights(source))
    write_weights("model", target, model.weights())
