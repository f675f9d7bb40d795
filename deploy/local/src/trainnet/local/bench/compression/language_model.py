"""A job that learns a text, without a coordinator: the worker's tasks in this process, merges by the engine."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.struct_pb2 import Struct

from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.local.bench.in_process import Trainer, digest_of
from trainnet.local.bench.merging import Rounds
from trainnet.runtime.store import ObjectStore
from trainnet.v1 import codec_pb2, dataset_pb2, job_pb2
from trainnet.v1 import task_pb2 as tasks
from trainnet.v1.artifact_pb2 import Artifact

SETTINGS = {
    "size": "tiny",
    "max_length": 64,
    "vocab_size": 512,
    "batch_size": 8,
    "learning_rate": 2e-3,
    "config.n_embd": 64,
    "config.n_layer": 2,
    "config.n_positions": 64,
    "config.resid_pdrop": 0.0,
    "config.embd_pdrop": 0.0,
    "config.attn_pdrop": 0.0,
}
"""Of the model: 0.14 million parameters."""


@dataclass(frozen=True)
class Budget:
    """What every codec has: so many shards train for so many steps in so many rounds."""

    shards: int
    rounds: int
    local_steps: int
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """Of a job."""

    loss: float
    """On the holdout, after the last round."""
    update_bytes: int
    """Mean size of an update's file."""
    parameters: int


class LanguageModel:
    """A text cut into shards and a holdout, and the model to begin with."""

    def __init__(self, folder: Path, text: Path, budget: Budget) -> None:
        self._folder, self._budget = folder, budget
        self._trainer = Trainer(folder / "trainer")
        kind = dataset_pb2.DATASET_FORMAT_TEXT
        result, _ = self._trainer.do(tasks.TaskSpec(inspect=tasks.InspectSpec(format=kind)), {"source": text})
        schema = result.inspect.schema
        plan = dataset_pb2.ShardPlan(shards=budget.shards, holdout_fraction=0.05, seed=budget.seed)
        prepare = tasks.PrepareSpec(format=kind, schema=schema, plan=plan)
        _, self._cut = self._trainer.do(tasks.TaskSpec(prepare=prepare), {"source": text})
        hyperparameters = Struct()
        hyperparameters.update(ARCHITECTURES["gpt2"].complete(SETTINGS))
        self._model = tasks.ModelSpec(architecture="gpt2", hyperparameters=hyperparameters, schema=schema)
        start = tasks.InitializeSpec(model=self._model, seed=budget.seed)
        made, self._start = self._trainer.do(tasks.TaskSpec(initialize=start), {"sample": self._cut["sample"]})
        self._parts = tasks.ModelParts(bundle=Artifact(digest="bundle"))
        self.parameters = made.initialize.parameters

    def train(
        self,
        store: ObjectStore,
        name: str,
        codec: codec_pb2.Codec,
        policy: job_pb2.MergePolicy,
        show: Callable[[int], None],
        *,
        copies: bool = False,
        moved: float = 0.0,
    ) -> Outcome:
        """A whole job. Inner optimizers go on from round to round, as DiLoCo has them. `show` gets each round. With
        `copies` the weights travel as BF16 from the second round on. Of the shards `moved` change the worker after a
        round, by chance: what was kept of them begins anew."""
        budget, weights = self._budget, self._start["base"]
        rounds, base = Rounds(store, name, policy, weights.read_bytes(), codec, copies=copies), weights
        previous = dict.fromkeys(range(budget.shards), "")
        size, chance = 0, random.Random(budget.seed)
        for number in range(1, budget.rounds + 1):
            show(number)
            updates: dict[int, bytes] = {}
            for shard in range(budget.shards):
                update = self._round(name, codec, number, shard, previous[shard], base)
                previous[shard] = "" if chance.random() < moved else digest_of(update)
                updates[shard] = update.read_bytes()
                update.unlink()
                size += len(updates[shard])
            weights = self._folder / f"{name}.safetensors"
            weights.write_bytes(rounds.merge(updates, dict.fromkeys(updates, 1.0)))
            base = weights
            if copies:
                base = self._folder / f"{name}-copy.safetensors"
                base.write_bytes(rounds.copy)
        return Outcome(self._loss(weights), size // (budget.rounds * budget.shards), self.parameters)

    def _round(self, job: str, codec: codec_pb2.Codec, number: int, shard: int, previous: str, weights: Path) -> Path:
        budget, rows = self._budget, self._cut[f"shard-{shard}"]
        spec = tasks.TrainSpec(
            model=self._model,
            shard=Artifact(digest=digest_of(rows)),
            local_steps=budget.local_steps,
            seed=budget.seed * 1_000_003 + number * 1009 + shard,
            round=number,
            rounds=budget.rounds,
            shard_index=shard,
            parts=self._parts,
            keep_optimizer=True,
            previous_update=previous,
            codec=codec,
        )
        files = {"base": weights, "shard": rows, "bundle": self._start["bundle"]}
        _, outputs = self._trainer.do(tasks.TaskSpec(job=job, train=spec), files)
        return outputs["update"]

    def _loss(self, weights: Path) -> float:
        rows = self._cut["holdout"]
        spec = tasks.EvaluateSpec(model=self._model, holdout=Artifact(digest=digest_of(rows)), parts=self._parts)
        files = {"weights": weights, "holdout": rows, "bundle": self._start["bundle"]}
        result, _ = self._trainer.do(tasks.TaskSpec(evaluate=spec), files)
        return result.metrics["loss"]
