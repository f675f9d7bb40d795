"""Cuts a data set into a holdout and shards, as a stream.

Every row gets a rank by a seeded permutation. The first ranks are the holdout, the others are dealt out in turn, so
shards differ by at most one row. Rows keep the file's order within a shard; training shuffles them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    DataSchema,
    ShardPlan,
)
from trainnet.v1.task_pb2 import PrepareResult, PrepareSpec, TaskResult
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.columns import as_category, as_image_bytes, as_numbers, as_text
from trainnet.worker.trainer.data.dealing import Dealer
from trainnet.worker.trainer.data.permutation import Permutation
from trainnet.worker.trainer.data.source import open_source


def prepare(spec: PrepareSpec, context: TaskContext) -> TaskResult:
    """Writes `shard-<index>` for every shard and `holdout` when its fraction is above 0. The same file, schema and
    plan give the same bytes. Raises TaskError."""
    plan, rows = spec.plan, spec.schema.rows
    holdout = holdout_rows(rows, plan)
    permutation = Permutation(rows, plan.seed)
    layout = shard_layout(spec.schema)
    names = [f"shard-{index}" for index in range(plan.shards)] + (["holdout"] if holdout else [])
    dealer = Dealer(names, layout, context)

    context.loading()
    source = open_source(context.inputs["source"], spec.format)
    context.running()
    done = 0
    for number, batch in enumerate(source.batches(), start=1):
        if done + batch.num_rows > rows:
            raise TaskError("TASK", f"the file has more rows than the {rows} that were inspected; upload it again")
        rank = permutation.ranks(np.arange(done, done + batch.num_rows, dtype=np.uint64)).astype(np.int64)
        target = np.where(rank < holdout, plan.shards, (rank - holdout) % plan.shards)
        dealer.add(_as_shard_rows(batch, spec.schema, layout), target)
        done += batch.num_rows
        context.step(number, 0, batch.num_rows)
    if done != rows:
        raise TaskError("TASK", f"the file has {done} rows, {rows} were inspected; upload it again")
    counts = dealer.finish()
    return TaskResult(prepare=PrepareResult(shard_rows=counts[: plan.shards], holdout_rows=holdout))


def holdout_rows(rows: int, plan: ShardPlan) -> int:
    """Rows to hold out. Raises TaskError when the rest is too small for the shards."""
    holdout = max(1, round(rows * plan.holdout_fraction)) if plan.holdout_fraction > 0 else 0
    left = rows - holdout
    if left < plan.shards:
        kept = f" after {holdout} were held out" if holdout else ""
        raise TaskError("TASK", f"{plan.shards} shards are more than the {left} rows that are left{kept}; use fewer")
    return holdout


def shard_layout(schema: DataSchema) -> pa.Schema:
    """Columns of a shard: those a model uses, and the label as the name of its class. Workers see no others."""
    kinds = {
        COLUMN_KIND_NUMERIC: pa.float64(),
        COLUMN_KIND_CATEGORICAL: pa.string(),
        COLUMN_KIND_IMAGE: pa.large_binary(),
    }
    fields = [pa.field(column.name, kinds[column.kind]) for column in schema.columns if column.kind in kinds]
    return pa.schema([*fields, pa.field(schema.label, pa.string())])


def _as_shard_rows(batch: pa.RecordBatch, schema: DataSchema, layout: pa.Schema) -> pa.RecordBatch:
    arrays = []
    try:
        for column in schema.columns:
            if column.kind == COLUMN_KIND_NUMERIC:
                numbers = as_numbers(batch.column(column.name))
                if numbers is None:
                    raise TaskError("TASK", f"column {column.name!r} holds something else than numbers")
                arrays.append(numbers)
            elif column.kind == COLUMN_KIND_CATEGORICAL:
                arrays.append(as_category(batch.column(column.name)))
            elif column.kind == COLUMN_KIND_IMAGE:
                arrays.append(as_image_bytes(batch.column(column.name)))
        arrays.append(as_text(batch.column(schema.label)))
    except KeyError as error:
        raise TaskError("TASK", f"the file has no column {error.args[0]!r}, which its inspection found") from error
    return pa.RecordBatch.from_arrays(arrays, schema=layout)
