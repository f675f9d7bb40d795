"""A whole job on a stack of its own, and the bare compute in it."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean

import torch
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from trainnet.client import Client, Dataset, Job
from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.local.bench import fashion
from trainnet.local.bench.bare import BareProcess, write
from trainnet.local.bench.jobs import whole_job
from trainnet.local.stack import LocalStack
from trainnet.v1 import job_pb2
from trainnet.v1.dataset_pb2 import COLUMN_KIND_IMAGE, Column, DataSchema, ImageShape, LabelClass
from trainnet.v1.task_pb2 import ModelSpec

_BATCH = 64
SETTINGS: dict[str, object] = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "batch_size": _BATCH}
_WARM_UP = 20


def measure(console: Console, data_dir: Path | None, *, workers: int, rounds: int, processes: int) -> dict[str, object]:
    """The figures that `--json` prints. Raises LocalError, TrainNetError."""
    with tempfile.TemporaryDirectory(prefix="trainnet-bench-") as name, console.status("reading") as status:
        folder = Path(name)
        fashion.write_parquet(data_dir or fashion.FOLDER, folder / "fashion.parquet")
        images, labels = fashion.read(data_dir or fashion.FOLDER, "train")
        fields = {
            "pixels": torch.from_numpy(images.copy()).unsqueeze(1),
            "label": torch.from_numpy(labels.astype("int64")),
        }
        write(folder / "bare", _model(len(images)), fields)
        share = -(-len(images) // workers)
        steps = workers * rounds * -(-share // _BATCH)
        # Before and after the job: the machine's speed is not the same all the time.
        bare = [_bare(folder / "bare", steps, processes, status.update)]
        status.update("starting the stack")
        with (
            LocalStack(folder / "stack", workers=workers, log_level="warning") as stack,
            Client(stack.endpoints.grpc, stack.endpoints.token) as client,
        ):
            status.update("uploading and inspecting")
            dataset = client.datasets.upload(folder / "fashion.parquet", "label", name="Fashion-MNIST")
            dataset.wait()
            status.update("preparing")
            began = time.perf_counter()
            # Another kind of input than the measured job's, so that nothing but the cut is done ahead of it.
            _run(client, dataset, "mobilenet_v2", workers, 1, {"image_size": 32, "batch_size": 16}, local_steps=1)
            prepare_s = time.perf_counter() - began
            status.update("running the job")
            began = time.perf_counter()
            job = _run(client, dataset, "cnn", workers, rounds, SETTINGS)
            wall = time.perf_counter() - began
            done = whole_job(stack.endpoints, job.name)
        bare.append(_bare(folder / "bare", steps, processes, status.update))
    return {
        "wall_s": wall,
        "bare_s": fmean(bare),
        "ratio": wall / fmean(bare),
        "accuracy": job.metrics["accuracy"],
        "prepare_s": prepare_s,
        "bare_runs_s": bare,
        "steps": steps,
        "workers": workers,
        "rounds": rounds,
        **_spent(done),
    }


def _run(
    client: Client,
    dataset: Dataset,
    architecture: str,
    workers: int,
    rounds: int,
    settings: Mapping[str, object],
    local_steps: int | None = None,
) -> Job:
    job = client.train(
        dataset,
        architecture,
        rounds=rounds,
        shards=workers,
        hyperparameters=settings,
        local_steps=local_steps,
        name=f"bench job {architecture}",
    )
    return job.wait(progress=False)


def _bare(folder: Path, steps: int, processes: int, say: Callable[[str], None]) -> float:
    """Seconds of that many steps, shared evenly by processes that begin together."""
    say(f"{steps} bare steps by {processes} processes")
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(BareProcess(folder)) for _ in range(processes)]
        for process in running:
            process.run(_WARM_UP)
        began = time.perf_counter()
        for process in running:
            process.start(-(-steps // processes))
        for process in running:
            process.result()
        return time.perf_counter() - began


def _model(rows: int) -> ModelSpec:
    hyperparameters = Struct()
    hyperparameters.update(ARCHITECTURES["cnn"].complete(SETTINGS))
    schema = DataSchema(
        columns=[Column(name="image", kind=COLUMN_KIND_IMAGE)],
        label="label",
        classes=[LabelClass(name=str(label)) for label in range(10)],
        image=ImageShape(height=28, width=28, channels=1),
        rows=rows,
    )
    return ModelSpec(architecture="cnn", hyperparameters=hyperparameters, schema=schema)


def _spent(job: job_pb2.Job) -> dict[str, float]:
    """Where the job's time went: before its first round, in its rounds, and after its last."""
    first, last = job.rounds[0], job.rounds[-1]
    ends = [_seconds(job.create_time), _seconds(first.open_time), _seconds(last.merged_time), _seconds(job.end_time)]
    trained = [entry.metrics.get("train_s", 0.0) for found in job.rounds for entry in found.manifest]
    return {
        "before_s": ends[1] - ends[0],
        "rounds_s": ends[2] - ends[1],
        "after_s": ends[3] - ends[2],
        "train_s": sum(trained),
    }


def _seconds(stamp: Timestamp) -> float:
    return stamp.ToNanoseconds() / 1e9
