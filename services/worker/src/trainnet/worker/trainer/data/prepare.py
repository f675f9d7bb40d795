"""Cuts a data set into a holdout and shards, as a stream: reading and encoding on one thread, writing on others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np
import pyarrow as pa

from trainnet.v1.dataset_pb2 import SHARD_KIND_DIRICHLET, SHARD_KIND_STRATIFIED
from trainnet.v1.task_pb2 import PrepareResult, PrepareSpec, TaskResult
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.dealing import THREADS, Dealer
from trainnet.worker.trainer.data.plans import Codes, Cut, Indices, Mask, make_cut
from trainnet.worker.trainer.data.sample import Sample
from trainnet.worker.trainer.data.shard_rows import ShardRows
from trainnet.worker.trainer.data.sources.opening import open_source
from trainnet.worker.trainer.data.sources.source import Source

_T = TypeVar("_T")
_Part = tuple[pa.RecordBatch, Codes | None, Indices]


def prepare(spec: PrepareSpec, context: TaskContext) -> TaskResult:
    """Writes `shard-<index>` for every shard, `holdout` where rows are held out, and `sample` where there is text. The
    same file, schema and plan give the same bytes. Raises TaskError."""
    plan, schema = spec.plan, spec.schema
    context.loading()
    shard_rows = ShardRows(schema)
    known = [*(column.name for column in schema.columns), *([schema.label] if schema.label else [])]
    source = open_source(context.inputs["source"], spec.format, known)
    context.running()
    cut = _cut(spec, source, shard_rows, context)
    has_holdout = schema.split_holdout_rows > 0 if schema.split_column else plan.holdout_fraction > 0
    names = [f"shard-{index}" for index in range(plan.shards)] + (["holdout"] if has_holdout else [])
    texts = shard_rows.texts
    sample = Sample(texts, plan.seed) if texts else None
    trained_on = np.zeros(max(1, len(schema.classes)), np.int64)

    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        dealer = Dealer(names, shard_rows.layout, context, pool)
        for number, (rows, codes, targets) in enumerate(_ahead(_parts(source, shard_rows, cut)), start=1):
            dealer.add(rows, targets)
            training = targets < plan.shards
            if codes is not None:
                trained_on += np.bincount(codes[training], minlength=len(trained_on))
            if sample:
                sample.add(rows, training)
            done += rows.num_rows
            context.step(number, 0, rows.num_rows)
        if done != schema.rows:
            raise TaskError("TASK", f"the file has {done} rows, {schema.rows} were inspected; upload it again")
        counts = dealer.finish()
    if schema.classes and not trained_on.all():
        name = schema.classes[int(np.argmin(trained_on != 0))].name
        raise TaskError(
            "TASK",
            f"all rows of the class {name!r} were held out, so no model could learn it; use --split stratified, "
            "which keeps some of each class, or another --seed",
        )
    if sample:
        context.output(sample.write(context.out / "sample.parquet"))
    holdout = counts[plan.shards] if has_holdout else 0
    return TaskResult(prepare=PrepareResult(shard_rows=counts[: plan.shards], holdout_rows=holdout))


def _cut(spec: PrepareSpec, source: Source, shard_rows: ShardRows, context: TaskContext) -> Cut:
    """Counts the classes of training rows where the plan needs them and inspection did not tell."""
    plan, schema = spec.plan, spec.schema
    if not schema.split_column:
        return make_cut(plan, [label.rows for label in schema.classes], schema.rows, None)
    class_rows = np.zeros(len(schema.classes), np.int64)
    if schema.classes and plan.kind in {SHARD_KIND_STRATIFIED, SHARD_KIND_DIRICHLET}:
        for number, batch in enumerate(_ahead(source.batches(shard_rows.wanted_for_counting)), start=1):
            codes, held = shard_rows.codes(batch), shard_rows.held(batch)
            assert codes is not None
            assert held is not None
            class_rows += np.bincount(codes[~held], minlength=len(class_rows))
            context.step(number, 0, 0)
    held_rows = schema.split_holdout_rows
    return make_cut(plan, class_rows.tolist(), schema.rows - held_rows, held_rows)


def _parts(source: Source, shard_rows: ShardRows, cut: Cut) -> Iterator[_Part]:
    for batch in source.batches(shard_rows.wanted):
        codes: Codes | None = shard_rows.codes(batch)
        held: Mask | None = shard_rows.held(batch)
        yield shard_rows.encode(batch, codes), codes, cut.targets(codes, held, batch.num_rows)


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The items, each made while the one before is being used."""
    end = object()
    with ThreadPoolExecutor(1) as reader:
        waiting: Future[_T | object] = reader.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = reader.submit(next, items, end)
            yield cast("_T", item)
