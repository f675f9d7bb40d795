"""The demo from its first line to its last."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from trainnet.cli.live import follow
from trainnet.client import Client, Dataset, Job, JobFailed, JobState
from trainnet.local.bench.jobs import whole_job
from trainnet.local.demo import settings
from trainnet.local.demo.show import Show
from trainnet.local.errors import LocalError
from trainnet.local.stack import LocalStack
from trainnet.v1 import task_pb2


@dataclass(frozen=True)
class Outcome:
    """What `--json` holds."""

    accuracy: float
    baseline_accuracy: float
    wall_s: float
    rounds: int
    model: str
    workers: int
    job: str
    steps: int
    baseline_steps: int
    train_s: float
    baseline_train_s: float


@dataclass(frozen=True)
class Judgement:
    """How the downloaded model and the baseline did on the held-out rows."""

    accuracy: float
    baseline_accuracy: float
    baseline_steps: int
    baseline_seconds: float


class Place:
    """The demo's folder: the model, the images, and the stack with its logs."""

    def __init__(self, asked: Path | None) -> None:
        """A folder of one's own choice, or a new one among the temporary files. Raises LocalError."""
        self._made = asked is None
        try:
            self.folder = (asked or Path(tempfile.mkdtemp(prefix="trainnet-demo-"))).expanduser().absolute()
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(f"{asked or tempfile.gettempdir()} cannot be used: {error.strerror or error}") from None
        self.model = self.folder / "model"
        self.data = self.folder / "mnist-5k.parquet"
        self.stack = self.folder / "stack"
        if self.model.exists():
            raise LocalError(f"{self.model} is there already: name another folder with --keep, or remove it")

    def give_up(self) -> None:
        """Removes a folder that nobody asked for."""
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)


class Demo:
    def __init__(self, stack: LocalStack, place: Place, console: Console, *, workers: int, rounds: int) -> None:
        self._stack, self._place, self._show = stack, place, Show(console)
        self._workers, self._rounds = workers, rounds

    def run(self) -> Outcome:
        """Runs all of it; the stack is stopped by who made it. Raises LocalError, TrainNetError."""
        began = time.monotonic()
        self._show.banner(self._workers, self._rounds)
        self._start()
        with Client(self._stack.endpoints.grpc, self._stack.endpoints.token) as client:
            job, train_s = self._train(client, self._upload(client))
            with self._show.phase("model", "downloading") as phase:
                files = sorted(path.name for path in job.download(self._place.model).iterdir())
                phase.said = f"{', '.join(files)}; {_size(self._place.model / 'model.safetensors')}"
        judged = self._judge(job)
        outcome = Outcome(
            accuracy=judged.accuracy,
            baseline_accuracy=judged.baseline_accuracy,
            wall_s=round(time.monotonic() - began, 3),
            rounds=job.merged_rounds,
            model=str(self._place.model),
            workers=self._workers,
            job=job.name,
            steps=_steps(job),
            baseline_steps=judged.baseline_steps,
            train_s=round(train_s, 3),
            baseline_train_s=round(judged.baseline_seconds, 3),
        )
        self._show.comparison(
            [
                (f"{self._workers} workers, merged", outcome.accuracy, outcome.steps, outcome.train_s),
                ("one machine", outcome.baseline_accuracy, outcome.baseline_steps, outcome.baseline_train_s),
            ]
        )
        self._farewell(outcome)
        return outcome

    def _start(self) -> None:
        with self._show.phase("stack", "NATS, object store, coordinator, aggregator, workers") as phase:
            self._stack.start()
            phase.said = f"NATS, object store, coordinator, aggregator and {self._workers} workers are up"

    def _upload(self, client: Client) -> Dataset:
        from trainnet.local.demo import mnist

        with self._show.phase("data", "MNIST-5k") as phase:
            images, labels = mnist.read(mnist.find())
            mnist.write_parquet(images, labels, self._place.data)
            dataset = client.datasets.upload(self._place.data, "label", name="MNIST-5k")
            phase.said = (
                f"MNIST-5k, {len(images):,} handwritten digits, uploaded as Parquet ({_size(self._place.data)})"
            )
        with self._show.phase("profile", "a worker reads every image once") as phase:
            schema = dataset.wait().schema
            assert schema is not None, "a READY data set has a schema"
            assert schema.image is not None, "it was written as images"
            height, width, _ = schema.image
            phase.said = f"a worker found {schema.rows:,} images of {height} × {width}, {len(schema.classes)} classes"
        return dataset

    def _train(self, client: Client, dataset: Dataset) -> tuple[Job, float]:
        job = client.train(
            dataset,
            settings.ARCHITECTURE,
            rounds=self._rounds,
            shards=self._workers,
            epochs=settings.EPOCHS,
            hyperparameters=settings.HYPERPARAMETERS,
            seed=settings.SEED,
            holdout=settings.HOLDOUT,
            name="MNIST-5k demo",
        )
        began = time.monotonic()
        job = follow(job, console=self._show.console)
        if job.state is not JobState.SUCCEEDED:
            raise JobFailed(job.name, job.state, job.message)
        seconds = [found.seconds or 0.0 for found in job.rounds]
        updates = sum(len(found.manifest) for found in job.rounds)
        said = f"{len(seconds)} rounds, {updates} updates checked and merged; a round took {max(seconds):.1f} s at most"
        self._show.done("training", said, time.monotonic() - began)
        return job, sum(seconds)

    def _judge(self, job: Job) -> Judgement:
        """Accuracies of the downloaded model and of the baseline, on the rows that the job held out."""
        with self._show.phase("check", "loading the model with safetensors and torch") as phase:
            from trainnet.local.demo import baseline, model  # torch takes its time

            work = self._place.folder / "baseline"
            shutil.rmtree(work, ignore_errors=True)
            config, weights = model.load(self._place.model)
            whole = whole_job(self._stack.endpoints, job.name)
            cut = baseline.cut(self._place.data, whole.schema, settings.HOLDOUT, settings.SEED, work / "rows")
            right, rows = model.accuracy(weights, config["classes"], cut.holdout)
            told = job.metrics.get("accuracy", float("nan"))
            phase.said = f"loaded with safetensors and torch alone: {right} of {rows} held-out images right"
            phase.details.append(f"the worker that evaluated the last round says {told:.4f}")
        with self._show.bar("baseline", "one machine, same start, same rows, same steps") as bar:
            task = bar.add_task("steps", total=None)
            began = time.monotonic()
            trained = whole.spec
            alone = baseline.train_alone(
                task_pb2.ModelSpec(
                    architecture=trained.architecture, hyperparameters=trained.hyperparameters, schema=whole.schema
                ),
                cut.rest,
                epochs=self._rounds * settings.EPOCHS,
                seed=settings.SEED,
                folder=work / "baseline",
                show=lambda step, steps: bar.update(task, completed=step, total=steps),
            )
        alone_right, _ = model.accuracy(alone.weights, config["classes"], cut.holdout)
        self._show.done("baseline", "the same model trained by one machine", time.monotonic() - began)
        return Judgement(right / rows, alone_right / rows, alone.steps, alone.seconds)

    def _farewell(self, outcome: Outcome) -> None:
        points = 100 * (outcome.accuracy - outcome.baseline_accuracy)
        self._show.say()
        self._show.say(f"  {points:+.1f} points beside one machine; everything took {outcome.wall_s:.0f} s")
        self._show.say(f"  the model: {outcome.model}", style="bold")


def _size(path: Path) -> str:
    """Length of a file, for people."""
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _steps(job: Job) -> int:
    """SGD steps of all accepted updates."""
    batch = int(job.hyperparameters["batch_size"])
    return sum(-(-entry.examples // batch) * job.epochs for found in job.rounds for entry in found.manifest)
