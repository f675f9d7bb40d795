"""A job without a coordinator: the worker's own tasks one after the other in this process, and merges between them.

Every task is the one that a worker would be given; its seeds and the shards that a round leaves out come by the
coordinator's own rules. Nothing is uploaded: what an update holds is what counts.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.struct_pb2 import Struct

from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.participation import drawn
from trainnet.coordinator.usecases.model_specs import shard_seed
from trainnet.local.bench.in_process import Trainer, digest_of
from trainnet.local.bench.learned.plan import ALPHA, SHARDS, STRATEGIES, Run, Strategy, Task
from trainnet.local.bench.merging import Rounds, completed
from trainnet.runtime.store import ObjectStore
from trainnet.v1.dataset_pb2 import (
    DATASET_FORMAT_PARQUET,
    SHARD_KIND_DIRICHLET,
    SHARD_KIND_IID,
    DataSchema,
    DatasetReading,
    ShardPlan,
)
from trainnet.v1.task_pb2 import (
    EvaluateSpec,
    InitializeSpec,
    InspectSpec,
    ModelParts,
    ModelSpec,
    PrepareSpec,
    TaskSpec,
    TrainSpec,
)


@dataclass(frozen=True)
class Cut:
    """A data set in shards."""

    schema: DataSchema
    shards: list[Path]
    rows: list[int]
    files: dict[str, Path]


def inspect(trainer: Trainer, source: Path, label: str) -> DataSchema:
    """What a data set is. Raises LocalError."""
    reading = DatasetReading(label_column=label)
    spec = InspectSpec(format=DATASET_FORMAT_PARQUET, label_column=label, reading=reading)
    found, _ = trainer.do(TaskSpec(inspect=spec), {"source": source})
    return found.inspect.schema


def cut(trainer: Trainer, source: Path, schema: DataSchema, split: str, seed: int) -> Cut:
    """Cuts it. `central` is one shard. Raises LocalError."""
    plan = ShardPlan(kind=SHARD_KIND_IID, shards=1 if split == "central" else SHARDS, seed=seed)
    if split == "dirichlet":
        plan.kind, plan.alpha = SHARD_KIND_DIRICHLET, ALPHA
    spec = PrepareSpec(format=DATASET_FORMAT_PARQUET, schema=schema, plan=plan)
    found, files = trainer.do(TaskSpec(prepare=spec), {"source": source})
    shards = [files[f"shard-{index}"] for index in range(plan.shards)]
    return Cut(schema, shards, list(found.prepare.shard_rows), files)


def train(trainer: Trainer, store: ObjectStore, run: Run, task: Task, steps: int, data: Cut) -> float:
    """The metric after all rounds. Raises LocalError, AggregatorError, StoreError."""
    strategy = STRATEGIES[run.strategy]
    model = _model(task, strategy, data.schema)
    inputs = {name: data.files[name] for name in ("sample",) if name in data.files}
    _, made = trainer.do(TaskSpec(initialize=InitializeSpec(model=model, seed=run.seed)), inputs)
    parts, common = ModelParts(), {}
    if "bundle" in made:
        parts.bundle.digest, common = digest_of(made["bundle"]), {"bundle": made["bundle"]}
    name = "-".join(str(part) for part in (run.task, run.split, run.strategy, run.local_steps, run.dropped, run.seed))
    count = len(data.shards)
    weights_file = made["base"]
    rounds = Rounds(store, name, completed(strategy.merge, count), weights_file.read_bytes())
    spec = TrainSpec(model=model, parts=parts, local_steps=run.local_steps, keep_optimizer=strategy.adaptive)
    spec.rounds = max(1, steps // run.local_steps)
    digests, previous = [digest_of(path) for path in data.shards], [""] * count
    for number in range(1, spec.rounds + 1):
        spec.round = number
        updates = {}
        for shard in drawn(run.seed, number, count, count - int(count * run.dropped)):
            spec.shard_index, spec.seed = shard, shard_seed(run.seed, number, shard)
            spec.shard.digest, spec.previous_update = digests[shard], previous[shard]
            files = {"base": weights_file, "shard": data.shards[shard], **common}
            _, out = trainer.do(TaskSpec(job=f"jobs/{name}", train=spec), files)
            updates[shard] = out["update"].read_bytes()
            previous[shard] = digest_of(out["update"])
            shutil.rmtree(out["update"].parent)
        merged = rounds.merge(updates, {shard: float(data.rows[shard]) for shard in updates})
        weights_file.write_bytes(merged)
    evaluate = EvaluateSpec(model=model, parts=parts, round=spec.rounds)
    evaluate.holdout.digest = digest_of(data.files["holdout"])
    files = {"weights": weights_file, "holdout": data.files["holdout"], **common}
    found, _ = trainer.do(TaskSpec(evaluate=evaluate), files)
    return float(found.metrics[task.metric])


def _model(task: Task, strategy: Strategy, schema: DataSchema) -> ModelSpec:
    given = {**task.settings, **(task.adaptive if strategy.adaptive else task.plain), **strategy.settings}
    if strategy.central:
        batch = given["batch_size"]
        assert isinstance(batch, int)
        given["batch_size"] = SHARDS * batch
    hyperparameters = Struct()
    hyperparameters.update(ARCHITECTURES[task.architecture].complete(given))
    return ModelSpec(architecture=task.architecture, hyperparameters=hyperparameters, schema=schema)
