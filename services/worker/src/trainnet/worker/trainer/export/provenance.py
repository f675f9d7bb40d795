"""Where a model comes from, for programs: its newest merged rounds with their updates, and their hashes."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from trainnet.v1.task_pb2 import BaseModel, ExportSpec


def provenance(spec: ExportSpec) -> dict[str, Any]:
    """provenance.json."""
    return {
        "job": spec.display_name,
        "dataset": spec.dataset_name,
        "architecture": spec.model.architecture,
        "hyperparameters": MessageToDict(spec.model.hyperparameters),
        "started_from": started_from(spec.base),
        "initial_weights": spec.initial_digest,
        "merged_weights": spec.weights.digest,
        "merge": spec.merge,
        "codec": spec.codec,
        "participation": spec.participation,
        "round": spec.round,
        "shard_rows": list(spec.shard_rows),
        "holdout_rows": spec.holdout_rows,
        "rounds": [
            {
                "number": record.number,
                "metrics": dict(record.metrics),
                "train_loss": record.train_loss,
                "merged_sha256": record.merged_sha256,
                "updates": [
                    {
                        "shard": update.shard,
                        "worker": update.worker,
                        "digest": update.digest,
                        "examples": update.examples,
                    }
                    for update in record.updates
                ],
            }
            for record in spec.rounds
        ],
    }


def started_from(base: BaseModel) -> str:
    """In a word or a name."""
    source = base.WhichOneof("source")
    return "scratch" if source is None else str(getattr(base, source))
