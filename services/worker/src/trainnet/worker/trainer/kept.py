"""What outlives a round on a worker: what a codec left out of an update, and the state of the optimizer, both by job
and shard.

They belong to one update and are kept under its digest, for only the coordinator knows which update was accepted: a
round goes on from those of the update that it is told of, or begins afresh. The newest and the one it was made from are
kept, in the folder of prepared inputs and within its bound; what was used longest ago goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from trainnet.runtime import digest
from trainnet.runtime.tensors import build_header
from trainnet.worker.errors import TaskError
from trainnet.worker.protocol import OutputFile
from trainnet.worker.trainer.inputs.folder import META, Growing, InputFolder, hold
from trainnet.worker.trainer.weights import each_weight

_LEFT_OUT = "left-out.bin"
_OPTIMIZER = "optimizer.safetensors"


class KeptStates:
    """Of all jobs that this worker trains."""

    def __init__(self, folder: InputFolder) -> None:
        self._folder = folder
        self._log = structlog.get_logger(__name__)

    @contextlib.contextmanager
    def round(self, job: str, shard: int, previous: str) -> Iterator[KeptRound]:
        """For a round that goes on from the update with the digest `previous`; empty in a shard's first round."""
        log = self._log.bind(job=job, shard=shard)
        before: _Before | None = None
        if previous:
            before = self._open(_key(job, shard, previous))
            if before is None:
                log.warning("nothing is kept of this shard's last update, beginning afresh", update=previous)
        try:
            with self._folder.growing() as growing:
                yield KeptRound(self._folder, growing, before, job, shard)
        finally:
            if before is not None:
                before.held.close()

    def _open(self, key: str) -> _Before | None:
        path = self._folder.path / key
        try:
            held = hold(path / META)
        except FileNotFoundError:
            return None
        try:
            for name, expected in json.loads(held.read()).items():
                with (path / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                        raise ValueError(f"{name} has another digest")
        except (OSError, ValueError, AttributeError) as error:
            held.close()
            self._log.warning("what was kept of an update is damaged", entry=key, error=str(error))
            self._folder.remove(key)
            return None
        self._folder.touch(key)
        return _Before(path, held)


class _Before:
    """What is kept of an update; nobody removes it until `held` is closed."""

    def __init__(self, path: Path, held: BinaryIO) -> None:
        self.path, self.held = path, held

    def file(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.exists() else None


class KeptRound:
    """What a round takes up, and what it leaves for the next one. Where the disk has no room, nothing is left, and the
    next round begins afresh."""

    def __init__(self, folder: InputFolder, growing: Growing, before: _Before | None, job: str, shard: int) -> None:
        self._folder, self._growing, self._before = folder, growing, before
        self._job, self._shard = job, shard
        self._digests: dict[str, str] = {}
        self._full = False
        self._log = structlog.get_logger(__name__).bind(job=job, shard=shard)

    @contextlib.contextmanager
    def left_out(self, elements: int) -> Iterator[LeftOutFiles]:
        """What a codec leaves out of so many numbers: read and written from the first to the last."""
        with contextlib.ExitStack() as stack:
            path = self._before.file(_LEFT_OUT) if self._before is not None else None
            source = None
            if path is not None and path.stat().st_size == 4 * elements:
                source = stack.enter_context(path.open("rb"))
            with _File(self, _LEFT_OUT) as target:
                yield LeftOutFiles(source, target)

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Gives an optimizer that has made no step the state after the round before, where that is kept."""
        path = self._before.file(_OPTIMIZER) if self._before is not None else None
        if path is None:
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, found in each_weight(path):
            index, _, slot = name.partition(".")
            # Its memory in the order of the parameter's: fused kernels count on it.
            parameter = parameters[int(index)]
            own = found if found.ndim == 0 else torch.empty_like(parameter, requires_grad=False).copy_(found)
            state.setdefault(int(index), {})[slot] = own
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def store(self, optimizer: torch.optim.Optimizer) -> None:
        """Keeps the state of an optimizer, tensor by tensor."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        tensors = [
            (f"{index}.{slot}", value)
            for index, parameter in enumerate(parameters)
            for slot, value in sorted(optimizer.state.get(parameter, {}).items())
            if isinstance(value, torch.Tensor)
        ]
        with _File(self, _OPTIMIZER) as target:
            target.write(build_header((name, "F32", tuple(value.shape)) for name, value in tensors))
            for _, value in tensors:
                found = value.detach().to("cpu", torch.float32).contiguous().numpy()
                if found.size:
                    target.write(found.reshape(-1).data.cast("B"))

    def finish(self, update: OutputFile) -> None:
        """All that was written belongs to this update."""
        if self._full or not self._digests:
            return
        (self._growing.path / META).write_text(json.dumps(self._digests), encoding="utf-8")
        parts = update.part_sha256
        name = digest.composite(parts) if len(parts) > 1 else f"sha256:{parts[0].hex()}"
        key = _key(self._job, self._shard, name)
        self._growing.finish(key)
        before = self._before.path.name if self._before is not None else ""
        for entry in self._folder.path.glob(f"{_owner(self._job, self._shard)}-*"):
            if entry.name not in {key, before}:
                self._folder.remove(entry.name)

    def grow(self, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        if not self._full:
            try:
                self._growing.reserve(size)
            except TaskError:
                self.give_up("no room to keep anything of this round: raise --max-disk")
        return not self._full

    def give_up(self, why: str) -> None:
        """Keeps nothing of this round: that is no reason to lose it."""
        self._full = True
        self._log.warning(why)

    def written(self, name: str, sha256: str) -> None:
        self._digests[name] = sha256

    @property
    def path(self) -> Path:
        return self._growing.path


class LeftOutFiles:
    """What was left out in the round before, and what is in this one."""

    def __init__(self, source: BinaryIO | None, target: _File) -> None:
        self._source, self._target = source, target

    def read(self, count: int) -> NDArray[np.float32] | None:
        """None where nothing is kept."""
        return np.frombuffer(self._source.read(4 * count), "<f4") if self._source is not None else None

    def write(self, values: NDArray[np.float32]) -> None:
        self._target.write(np.ascontiguousarray(values, "<f4").data.cast("B"))


class _File:
    """A file of the round, as long as there is room."""

    def __init__(self, kept: KeptRound, name: str) -> None:
        self._kept, self._name, self._hash = kept, name, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        if self._kept.grow(len(data)):
            self._hash.update(data)
            left = memoryview(data)
            try:
                while len(left):
                    left = left[self._file.write(left) :]
            except OSError as error:
                self._kept.give_up(f"nothing of this round can be kept: {error}")

    def __enter__(self) -> _File:
        self._file = (self._kept.path / self._name).open("wb", buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._kept.written(self._name, self._hash.hexdigest())


def _owner(job: str, shard: int) -> str:
    return "kept-" + hashlib.sha256(f"{job}\n{shard}".encode()).hexdigest()[:24]


def _key(job: str, shard: int, update: str) -> str:
    return f"{_owner(job, shard)}-{hashlib.sha256(update.encode()).hexdigest()[:24]}"
