"""`python -m trainnet.local.bench.bare FOLDER THREADS`: the loop that everybody writes, in a process of its own.

The measure for what a worker adds. FOLDER holds `model` (a ModelSpec), the examples' arrays as `<field>.npy`, and
`bundle.zip` where the model needs one. Each line of standard input is a number of steps; the answer is seconds and
examples. Nothing of the worker is used but the module, its loss, and what makes its input out of an example.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from trainnet.local.errors import LocalError
from trainnet.v1.task_pb2 import ModelSpec
from trainnet.worker.trainer.models import Model, build_model


class Loop:
    def __init__(self, model: Model, fields: dict[str, torch.Tensor], hyperparameters: Mapping[str, Any]) -> None:
        self._model, self._fields, self._settings = model, fields, hyperparameters

    def run(self, steps: int) -> tuple[float, int]:
        """(seconds, examples) of that many steps, with a fresh optimizer."""
        module, objective, encoding = self._model.module, self._model.objective, self._model.encoding
        size, clip = int(self._settings["batch_size"]), float(self._settings["gradient_clip"])
        optimizer = self._optimizer()
        module.train()
        count = len(next(iter(self._fields.values())))
        done, examples = 0, 0
        started = time.perf_counter()
        while done < steps:
            order = torch.randperm(count)
            for start in range(0, count, size):
                index = order[start : start + size]
                batch = encoding.batch({name: tensor[index] for name, tensor in self._fields.items()})
                loss = objective.loss(module, batch)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own
                if clip:
                    torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
                optimizer.step()
                done, examples = done + 1, examples + len(index)
                if done == steps:
                    break
        return time.perf_counter() - started, examples

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters, settings = self._model.module.parameters(), self._settings
        rate, decay = float(settings["learning_rate"]), float(settings["weight_decay"])
        if settings["optimizer"] == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=float(settings["momentum"]), weight_decay=decay)
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)


class BareProcess:
    """The other side: starts one, waits until it is ready, and asks it. Its end is the end of the `with`.

    Raises LocalError when the process dies; what it said stands on stderr.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainnet.local.bench.bare", str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._answer()
        except LocalError:
            self.__exit__()
            raise

    def start(self, steps: int) -> None:
        """Begins; `result` waits."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def result(self) -> tuple[float, int]:
        """(seconds, examples) of what was begun."""
        seconds, examples = self._answer()
        return seconds, int(examples)

    def run(self, steps: int) -> tuple[float, int]:
        """Begins and waits."""
        self.start(steps)
        return self.result()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LocalError("the bare loop died: what it said stands above")
        found: list[float] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def write(folder: Path, spec: ModelSpec, fields: dict[str, torch.Tensor], bundle: Path | None = None) -> None:
    """Makes the folder that the process reads."""
    folder.mkdir(parents=True)
    (folder / "model").write_bytes(spec.SerializeToString())
    for name, tensor in fields.items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    if bundle is not None:
        (folder / "bundle.zip").write_bytes(bundle.read_bytes())


def main(folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    spec = ModelSpec.FromString((folder / "model").read_bytes())
    bundle = folder / "bundle.zip"
    model = build_model(spec, 0, bundle if bundle.exists() else None)
    fields = {path.stem: torch.from_numpy(np.load(path)) for path in folder.glob("*.npy")}
    loop = Loop(model, fields, dict(spec.hyperparameters.items()))
    print("[]", flush=True)
    for line in sys.stdin:
        print(json.dumps(loop.run(int(line))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
