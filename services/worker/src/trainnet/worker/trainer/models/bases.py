"""What a job may start from: an earlier job's model, an uploaded one, or one of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor

from trainnet.v1.task_pb2 import InitializeSpec, ModelSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models import configuration, folder, hub
from trainnet.worker.trainer.models.build import build_model
from trainnet.worker.trainer.models.bundle import CONFIG, Parts, from_json, read_bundle
from trainnet.worker.trainer.models.families import FAMILIES, Family
from trainnet.worker.trainer.models.lora import AdaptedModel
from trainnet.worker.trainer.models.model import Model
from trainnet.worker.trainer.weights import read_map, read_weights

PLAIN_HEAD = "output."


class Base(Protocol):
    """Files and weights of a model that exists."""

    parts: Parts | None
    revision: str
    exact: bool
    """Whether tensors that the architecture lacks are a mistake, not a part that is left behind."""

    def classes(self) -> list[str] | None:
        """Names of the classes that its head tells apart; None where nothing says."""

    def weights(self, family: Family | None, config: Any) -> Mapping[str, Tensor]:
        """By the architecture's names, as far as they fit `config`. Raises TaskError."""


def find_base(spec: InitializeSpec, inputs: Mapping[str, Path], scratch: Path) -> Base | None:
    """None means scratch. `scratch` is a folder for what is unpacked or downloaded. Raises TaskError."""
    match spec.base.WhichOneof("source"):
        case "job":
            return JobBase(spec, inputs)
        case "model" if folder.is_zip(inputs["base_weights"]):
            folder.unpack(inputs["base_weights"], scratch / "model")
            return FolderBase(scratch / "model", spec.base_weights.digest)
        case "model":
            return FileBase(inputs["base_weights"], spec.model, spec.base_weights.digest, scratch)
        case "hub":
            revision = hub.fetch(spec.base.hub, scratch / "model")
            return FolderBase(scratch / "model", revision)
        case _:
            return None


class JobBase:
    """The last merged round of an earlier job; its adapter, if it had one, merged into its weights."""

    exact = True

    def __init__(self, spec: InitializeSpec, inputs: Mapping[str, Path]) -> None:
        if spec.base_spec.architecture != spec.model.architecture:
            raise TaskError(
                "TASK",
                f"{spec.base.job} trained {spec.base_spec.architecture}, this job trains {spec.model.architecture}: "
                "choose the same architecture",
            )
        self._spec, self._inputs = spec.base_spec, inputs
        bundle = inputs.get("base_bundle")
        self.parts: Parts | None = read_bundle(bundle) if bundle is not None else None
        self.revision = spec.base_weights.digest

    def classes(self) -> list[str] | None:
        """Of its data set."""
        return [item.name for item in self._spec.schema.classes]

    def weights(self, family: Family | None, config: Any) -> Mapping[str, Tensor]:
        """As they were merged."""
        given = read_weights(self._inputs["base_weights"])
        if "base_frozen" not in self._inputs:
            return given
        model = build_model(self._spec, 0, self._inputs.get("base_bundle"), self._inputs["base_frozen"])
        model.load(given)
        return (model.merge() if isinstance(model, AdaptedModel) else model).weights()


class FolderBase:
    """A folder as save_pretrained writes it."""

    exact = False

    def __init__(self, path: Path, revision: str) -> None:
        self._path, self.revision = path, revision
        self.parts: Parts | None = folder.check(path)

    def classes(self) -> list[str] | None:
        """Of its configuration."""
        assert self.parts is not None
        names = from_json(self.parts, CONFIG).get("id2label")
        if not isinstance(names, dict) or not all(str(index).isdigit() for index in names):
            return None
        return [str(names[index]) for index in sorted(names, key=int)]

    def weights(self, family: Family | None, config: Any) -> Mapping[str, Tensor]:
        """As transformers reads them: older names, other types and missing prefixes are its business."""
        if family is None:
            raise TaskError("TASK", "mlp and cnn start from a .safetensors file or a job, not from a model's folder")
        return load_folder(family, self._path, config, exact=False)


class FileBase:
    """A safetensors file with the architecture's tensors, each of them and no other."""

    exact = True

    def __init__(self, path: Path, spec: ModelSpec, revision: str, scratch: Path) -> None:
        family = FAMILIES.get(spec.architecture)
        if family is not None and family.positions:
            raise TaskError(
                "TASK",
                f"{spec.architecture} needs the tokenizer of its base: upload the model's folder as a zip, "
                "not its weights alone",
            )
        read_map(path)
        self._path, self.revision, self._scratch = path, revision, scratch
        self.parts: Parts | None = None

    def classes(self) -> list[str] | None:
        """The file does not say."""
        return None

    def weights(self, family: Family | None, config: Any) -> Mapping[str, Tensor]:
        """As they are, in fp32."""
        if family is None:
            from safetensors.torch import load_file

            return {name: tensor.float() for name, tensor in load_file(self._path).items()}
        target = self._scratch / "file"
        target.mkdir()
        (target / folder.WEIGHTS).symlink_to(self._path)
        (target / CONFIG).write_bytes(configuration.write(family, config))
        return load_folder(family, target, config, exact=True)


def load_folder(family: Family, path: Path, config: Any, *, exact: bool) -> Mapping[str, Tensor]:
    """Tensors by the names of this version of transformers; those that do not fit are an error, but for the head."""
    try:
        module, found = family.model_class().from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # transformers says what is wrong by whatever comes to hand
        raise TaskError("TASK", f"the base's weights cannot be loaded: {error}") from error
    absent = set(found["missing_keys"]) | {name for name, *_ in found["mismatched_keys"]}
    shapes = {name: tuple(given) for name, given, _ in found["mismatched_keys"]}
    own = Model(module, *([None] * 2)).weights()  # type: ignore[arg-type]  # for its names alone
    for name, tensor in own.items():
        if name in absent and not (family.may_lack(name) and not exact):
            raise does_not_fit(name, shapes.get(name), tuple(tensor.shape))
    if exact and found["unexpected_keys"]:
        raise does_not_fit(min(found["unexpected_keys"]), "there", None)
    if found["unexpected_keys"]:
        structlog.get_logger(__name__).info("parts of the base are left out", tensors=sorted(found["unexpected_keys"]))
    return {name: tensor for name, tensor in own.items() if name not in absent}


def put(base: Base, weights: Mapping[str, Tensor], whole: Model, family: Family | None, spec: ModelSpec) -> None:
    """Puts a base's weights into a seeded model. A head for other classes stays as the seed made it.

    Raises TaskError naming the first tensor that differs, or is not finite.
    """
    own = whole.weights()
    classes = base.classes()
    fresh_head = classes is not None and classes != [item.name for item in spec.schema.classes]
    fresh = []
    for name, tensor in own.items():
        given = weights.get(name)
        head = family.is_head(name) if family is not None else name.startswith(PLAIN_HEAD)
        lacking = given is None or (given.shape != tensor.shape and not head)
        if (head and fresh_head) or (lacking and family is not None and family.may_lack(name)):
            fresh.append(name)
            continue
        if given is None or given.shape != tensor.shape:
            raise does_not_fit(name, None if given is None else tuple(given.shape), tuple(tensor.shape))
        if not bool(torch.isfinite(given).all()):
            raise TaskError("TASK", f"the base's tensor {name} holds values that are not finite")
        tensor.copy_(given)
    extra = [name for name in weights if name not in own]
    if base.exact and extra:
        raise does_not_fit(extra[0], tuple(weights[extra[0]].shape), None)
    if fresh:
        structlog.get_logger(__name__).info("what the base has not, or for other classes, begins anew", tensors=fresh)


def does_not_fit(name: str, given: Any, expected: Any) -> TaskError:
    """Names a tensor and both its shapes."""
    return TaskError(
        "TASK",
        f"the base does not fit the model: tensor {name} is {'missing' if given is None else given} in the base, "
        f"the model has {'no such tensor' if expected is None else expected}",
    )
