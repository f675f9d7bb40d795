"""What the agent and its trainer processes say to each other: one JSON object per line.

The agent writes commands to the trainer's standard input:

    {"type": "run", "id": 7, "spec": "<base64 TaskSpec>", "inputs": {"base": "/path"}, "out": "/folder"}
    {"type": "cancel", "id": 7}

The trainer answers on its standard output (its logs go to standard error): `ready` once, when torch is imported; then
for each run any number of `progress` and `output` and exactly one `result` or `error`. Bytes of tensors and tables
stay in files: lines carry paths. An `output` is finished when it is announced, so its upload may start.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainnet.v1.artifact_pb2 import Artifact
from trainnet.v1.task_pb2 import TaskPhase, TaskSpec

PART_SIZE = 64 * 1024 * 1024
"""Length of an upload's parts; up to it an upload is one PUT."""

CANCELLED = "CANCELLED"
"""Reason of the `error` that answers a cancelled run."""

ARCHITECTURES = ("bert", "cnn", "distilbert", "gpt2", "mlp", "mobilenet_v2", "noop", "vit", "whisper")
"""What this version can train."""

_PARTS = ("bundle", "frozen")

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a task produced, with the 32-byte digests of its parts."""

    output: str
    path: Path
    size: int
    part_sha256: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Where a task is."""

    phase: TaskPhase
    step: int = 0
    total_steps: int = 0
    loss: float = 0.0
    samples_per_s: float = 0.0


def encode(message: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Raises ValueError for anything but an object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the line is wrong, not its caller
    return message


def run_command(run_id: int, spec: TaskSpec, inputs: Mapping[str, Path], out: Path) -> bytes:
    """The trainer needs no URLs, so it gets none."""
    bare = TaskSpec()
    bare.CopyFrom(spec)
    for artifact in input_artifacts(bare).values():
        artifact.ClearField("download")
    return encode(
        {
            "type": "run",
            "id": run_id,
            "spec": base64.b64encode(bare.SerializeToString()).decode(),
            "inputs": {name: str(path) for name, path in inputs.items()},
            "out": str(out),
        }
    )


def input_artifacts(spec: TaskSpec) -> dict[str, Artifact]:
    """What a task reads, by the name that its code uses. The values belong to `spec`."""
    match spec.WhichOneof("work"):
        case "inspect":
            return {"source": spec.inspect.source}
        case "prepare":
            return {"source": spec.prepare.source}
        case "initialize":
            task = spec.initialize
            parts = _present(task.base_parts, *_PARTS)
            return _present(task, "sample", "base_weights") | {f"base_{name}": part for name, part in parts.items()}
        case "train":
            return {"base": spec.train.base} | _present(spec.train, "shard") | _present(spec.train.parts, *_PARTS)
        case "evaluate":
            inputs = {"weights": spec.evaluate.weights, "holdout": spec.evaluate.holdout}
            return inputs | _present(spec.evaluate.parts, *_PARTS)
        case "export":
            return {"weights": spec.export.weights} | _present(spec.export.parts, *_PARTS)
        case _:
            return {}


def _present(message: Any, *names: str) -> dict[str, Artifact]:
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def output_message(run_id: int, output: OutputFile) -> Message:
    """Announces a finished output."""
    return {
        "type": "output",
        "id": run_id,
        "output": output.output,
        "path": str(output.path),
        "size": output.size,
        "parts": base64.b64encode(b"".join(output.part_sha256)).decode(),
    }


def parse_output(message: Message) -> OutputFile:
    """The reverse of output_message."""
    parts = base64.b64decode(message["parts"])
    return OutputFile(
        message["output"],
        Path(message["path"]),
        message["size"],
        tuple(parts[start : start + 32] for start in range(0, len(parts), 32)),
    )


def progress_message(run_id: int, step: Step) -> Message:
    """Tells where a run is."""
    return {
        "type": "progress",
        "id": run_id,
        "at": [int(step.phase), step.step, step.total_steps, step.loss, step.samples_per_s],
    }


def parse_progress(message: Message) -> Step:
    """The reverse of progress_message."""
    phase, step, total_steps, loss, samples_per_s = message["at"]
    return Step(phase, step, total_steps, loss, samples_per_s)
