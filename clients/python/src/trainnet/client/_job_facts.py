"""What the coordinator said last of a job: what was asked of it, how far it is, what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trainnet.client._bases import describe_base
from trainnet.client._merging import rule_of, rule_settings_of, strategy_of, strategy_settings_of
from trainnet.client._models import JobState, Round, moment, plain, short
from trainnet.client._participation import codec_name, codec_of, codec_settings_of, seconds_of
from trainnet.client._profiles import Schema
from trainnet.v1 import dataset_pb2, job_pb2


class JobFacts:
    """The properties of a job, read from the contract's message."""

    _message: job_pb2.Job

    @property
    def name(self) -> str:
        """Resource name, `jobs/{job}`."""
        return self._message.name

    @property
    def id(self) -> str:
        """The name without `jobs/`."""
        return self._message.name.removeprefix("jobs/")

    @property
    def display_name(self) -> str:
        """What its owner calls it, or nothing."""
        return self._message.spec.display_name

    @property
    def state(self) -> JobState:
        """Where it is in its life."""
        return JobState(short(job_pb2.JobState, self._message.state, "JOB_STATE_"))

    @property
    def message(self) -> str:
        """Why it waits or failed."""
        return self._message.state_message

    @property
    def dataset(self) -> str:
        """Name of its data set, or nothing."""
        return self._message.spec.dataset

    @property
    def architecture(self) -> str:
        """Architecture that it trains."""
        return self._message.spec.architecture

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Every hyperparameter, defaults filled in."""
        return plain(self._message.spec.hyperparameters)

    @property
    def pool(self) -> str:
        """`trusted` or `public`."""
        found = short(job_pb2.Pool, self._message.spec.pool, "POOL_").lower()
        return "trusted" if found == "unknown" else found

    @property
    def merge(self) -> str:
        """How its updates are merged: `fedavg`, `diloco`, …"""
        return strategy_of(self._message.spec.merge)

    @property
    def merge_settings(self) -> dict[str, float]:
        """The numbers of the merge strategy, defaults filled in."""
        return strategy_settings_of(self._message.spec.merge)

    @property
    def rule(self) -> str:
        """What its updates become before the strategy's step: `mean`, `krum`, …"""
        return rule_of(self._message.spec.merge)

    @property
    def rule_settings(self) -> dict[str, float]:
        """The numbers of the rule, defaults filled in."""
        return rule_settings_of(self._message.spec.merge)

    @property
    def codec(self) -> str:
        """How its updates travel: `fp32`, `topk`, …"""
        return codec_of(self._message.spec.codec)

    @property
    def codec_settings(self) -> dict[str, float]:
        """The numbers of the codec, defaults filled in."""
        return codec_settings_of(self._message.spec.codec)

    @property
    def base_codec(self) -> str:
        """How its weights travel to the workers: `fp32` or `bf16`."""
        return codec_name(self._message.spec.base_codec)

    @property
    def sample(self) -> int:
        """Shards that each round trains; all of them where it says nothing else."""
        return self._message.spec.participation.sample or self.shards

    @property
    def quorum(self) -> int:
        """Accepted updates that suffice once the deadline is over, or once all other shards were given up."""
        return self._message.spec.participation.quorum or self.sample

    @property
    def deadline(self) -> float | None:
        """Seconds that a round waits for more than its quorum; None where it waits for ever."""
        asked = self._message.spec.participation
        return seconds_of(asked.deadline) if asked.HasField("deadline") else None

    @property
    def backup_after(self) -> float | None:
        """How many times the median of a round's accepted shards another one may take before a second worker gets it
        too; None where that never happens."""
        return self._message.spec.participation.backup_after or None

    @property
    def buffer(self) -> int | None:
        """Accepted updates that close a round while the rest goes on and counts in a later one; None where a round
        refuses what is late."""
        return self._message.spec.participation.buffering.size or None

    @property
    def max_staleness(self) -> int | None:
        """Rounds that an update may be late; None where rounds have no buffer."""
        return self._message.spec.participation.buffering.max_staleness or None

    @property
    def keep_optimizer(self) -> bool:
        """Whether workers keep the state of their optimiser for a shard from round to round."""
        return self._message.spec.keep_optimizer

    @property
    def total_rounds(self) -> int:
        """Rounds that it is to do."""
        return self._message.spec.rounds

    @property
    def merged_rounds(self) -> int:
        """Rounds merged so far."""
        return self._message.merged_rounds

    @property
    def shards(self) -> int:
        """Shards that its data are cut into."""
        return self._message.spec.plan.shards

    @property
    def epochs(self) -> int:
        """Passes over its shard that a worker makes in each round; 0 where it makes `local_steps`."""
        return self._message.spec.epochs

    @property
    def local_steps(self) -> int:
        """Steps of the optimiser that a worker makes in each round, in place of epochs; 0 where it makes epochs."""
        return self._message.spec.local_steps

    @property
    def split(self) -> str:
        """How the rows are dealt: `iid`, `stratified` or `dirichlet`."""
        found = short(dataset_pb2.ShardKind, self._message.spec.plan.kind, "SHARD_KIND_").lower()
        return "iid" if found == "unknown" else found

    @property
    def alpha(self) -> float | None:
        """Concentration of a dirichlet split."""
        return self._message.spec.plan.alpha or None

    @property
    def base(self) -> str:
        """What it started from: `jobs/…`, `models/…` or `hub:…`; empty for scratch."""
        return describe_base(self._message.spec.base)

    @property
    def seed(self) -> int:
        """Seed of the initial weights, the batch order and dropout."""
        return self._message.spec.seed

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Its rounds so far, by number. Empty in jobs that came from a list: refresh them."""
        return tuple(Round.of(message) for message in self._message.rounds)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the newest evaluated round."""
        return dict(self._message.metrics)

    @property
    def initial_metrics(self) -> dict[str, float]:
        """Metrics of what it started from, where that is not scratch."""
        return dict(self._message.initial_metrics)

    @property
    def parameters(self) -> int:
        """Weights of the model in all; 0 until they are known."""
        return self._message.parameters

    @property
    def trainable_parameters(self) -> int:
        """Weights that its rounds change; 0 until they are known."""
        return self._message.trainable_parameters

    @property
    def exported(self) -> bool:
        """Whether the whole folder of its newest model is ready to be downloaded."""
        return self._message.exported

    @property
    def schema(self) -> Schema | None:
        """What the data look like."""
        return Schema.of(self._message.schema) if self._message.HasField("schema") else None

    @property
    def create_time(self) -> datetime | None:
        """When it was created."""
        return moment(self._message, "create_time")

    @property
    def start_time(self) -> datetime | None:
        """When its first round opened."""
        return moment(self._message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return moment(self._message, "end_time")
