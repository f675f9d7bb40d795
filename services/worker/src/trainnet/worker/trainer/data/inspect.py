"""Reads a data set once and says what it is: columns, label, classes, split, image shape, and what it looks like."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_AUDIO,
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_IMAGE,
    COLUMN_KIND_NUMERIC,
    COLUMN_KIND_TEXT,
    ColumnKind,
    DataSchema,
    SampleRow,
)
from trainnet.v1.task_pb2 import InspectResult, InspectSpec, TaskResult
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.columns import held_out
from trainnet.worker.trainer.data.duplicates import DuplicateScan
from trainnet.worker.trainer.data.labels import REMEDY, LabelScan, rare
from trainnet.worker.trainer.data.media import AudioScan, ImageScan
from trainnet.worker.trainer.data.profile import make_profile, sample_rows
from trainnet.worker.trainer.data.reading import TRANSCRIPT_NAMES, Reading, Roles, choose, reading_of
from trainnet.worker.trainer.data.scan import ColumnScan
from trainnet.worker.trainer.data.sources.opening import open_source
from trainnet.worker.trainer.data.sources.source import Source

MAX_SCHEMA_BYTES = 128 * 1024
_MAX_WARNINGS = 50
_LEARNABLE = {COLUMN_KIND_NUMERIC, COLUMN_KIND_CATEGORICAL, COLUMN_KIND_IMAGE, COLUMN_KIND_TEXT, COLUMN_KIND_AUDIO}


def inspect(spec: InspectSpec, context: TaskContext) -> TaskResult:
    """Result InspectResult. Constant memory. Raises TaskError, one line that says what to mend."""
    context.loading()
    reading = reading_of(spec)
    source = open_source(context.inputs["source"], spec.format)
    batches = (batch for batch in source.batches() if batch.num_rows)
    first = next(batches, None)
    if first is None:
        raise TaskError("TASK", "the data set has no rows")
    look = _Look(source, reading, choose(source, reading, first))
    context.running()
    for number, batch in enumerate(itertools.chain([first], batches), start=1):
        look.add(batch)
        context.step(number, 0, batch.num_rows)
    return TaskResult(inspect=look.result())


class _Look:
    """One pass over all columns."""

    def __init__(self, source: Source, reading: Reading, roles: Roles) -> None:
        self._source, self._reading, self._roles = source, reading, roles
        self._scans = {name: ColumnScan(name, kind) for name, kind in source.columns.items() if name != roles.media}
        self._media: dict[str, ImageScan | AudioScan] = {}
        if roles.media is not None:
            self._media[roles.media] = (ImageScan if roles.media_kind == "image" else AudioScan)(roles.media)
        self._label = LabelScan(roles.label) if roles.label is not None else None
        self._duplicates = DuplicateScan()
        self._samples: list[SampleRow] = []
        self._rows = self._held = 0
        self._split_unknown: str | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        for name, media in self._media.items():
            media.add(batch.column(name))
        for name, scan in self._scans.items():
            scan.add(batch.column(name))
        held = self._held_rows(batch)
        if self._label:
            self._label.add(batch.column(self._label.name), held)
        self._duplicates.add(batch)
        if not self._rows:
            self._samples = sample_rows(batch, self._media)
        self._rows += batch.num_rows

    def _held_rows(self, batch: pa.RecordBatch) -> NDArray[np.bool_] | None:
        if self._roles.split is None:
            return None
        held, unknown = held_out(batch.column(self._roles.split))
        self._held += int(held.sum())
        if len(unknown) and self._split_unknown is None:
            self._split_unknown = unknown[0].as_py()
        return held

    def result(self) -> InspectResult:
        schema = DataSchema(rows=self._rows)
        split = self._set_split(schema)
        self._set_label(schema, has_split=split is not None)
        self._set_columns(schema, split)
        self._check_usable(schema)
        duplicates = self._duplicates.result()
        if duplicates[0]:
            among = "" if duplicates[1] == self._rows else f" among the {duplicates[1]} that were compared"
            rows = "1 row repeats" if duplicates[0] == 1 else f"{duplicates[0]} rows repeat"
            schema.warnings.append(f"{rows} an earlier one{among}")
        # The description travels with every task, in messages of at most 256 KiB.
        if schema.ByteSize() > MAX_SCHEMA_BYTES:
            raise TaskError(
                "TASK",
                f"the data set has too many columns or categories ({len(schema.columns)} columns); leave some out",
            )
        profiles = [(self._media.get(name) or self._scans[name]).profile() for name in self._source.columns]
        return InspectResult(schema=schema, profile=make_profile(profiles, self._samples, duplicates))

    def _set_split(self, schema: DataSchema) -> str | None:
        split, guessed = self._roles.split, self._roles.split_guessed
        if split is None:
            return None
        if self._held in {0, self._rows}:
            if guessed:
                return None
            raise TaskError(
                "TASK",
                f"the split column {split!r} holds no rows out; `test` or `validation` in it does"
                if not self._held
                else f"the split column {split!r} holds every row out; mark training rows with `train`",
            )
        if guessed and self._split_unknown is not None:
            schema.warnings.append(
                f"column {split!r} is not taken as the split, as it holds {self._split_unknown[:40]!r} too; "
                "name it as the split column if it is"
            )
            return None
        schema.split_column, schema.split_holdout_rows = split, self._held
        return split

    def _set_label(self, schema: DataSchema, *, has_split: bool) -> None:
        label = self._label
        if label is None:
            return
        kind = self._reading.kinds.get(label.name)
        if kind not in {None, COLUMN_KIND_TEXT, COLUMN_KIND_CATEGORICAL}:
            name = ColumnKind.Name(kind).removeprefix("COLUMN_KIND_").lower()
            raise TaskError(
                "TASK", f"column {label.name!r} is the label and cannot be {name}; a label is a class or text"
            )
        free = self._scans[label.name].free_text
        if kind is None and self._roles.label_guessed and free and not self._media:
            schema.warnings.append(f"there is no label: the last column {label.name!r} holds free text; {REMEDY}")
            self._label = None
            return
        schema.label = label.name
        spoken = self._roles.media_kind == "audio" and (
            free or label.too_many or label.name.lower() in TRANSCRIPT_NAMES
        )
        if kind == COLUMN_KIND_TEXT or (kind is None and spoken):
            self._scans[label.name].result(COLUMN_KIND_TEXT, override=True)
            label.check_text()
            schema.label_is_text = True
            return
        classes = label.classes(has_split=has_split)
        schema.classes.extend(classes)
        schema.warnings.extend(rare(classes, self._rows))

    def _set_columns(self, schema: DataSchema, split: str | None) -> None:
        for name in self._source.columns:
            if self._label and name == self._label.name:
                continue
            remarks: list[str] = []
            if name in self._media:
                media = self._media[name]
                column, remarks = media.result()
                if isinstance(media, ImageScan):
                    schema.image.CopyFrom(media.shape()[0])
            elif name == split:
                column, _ = self._scans[name].result(COLUMN_KIND_IGNORED, override=True)
            elif name in self._reading.kinds:
                column, _ = self._scans[name].result(self._reading.kinds[name], override=True)
            else:
                column, remark = self._scans[name].result()
                if self._media:
                    column.kind = COLUMN_KIND_IGNORED
                    column.ClearField("categories")
                    what = self._roles.media_kind
                    remark = f"column {name!r} is left out: {what} models take the {what}"
                remarks = [remark] if remark else []
            schema.columns.append(column)
            schema.warnings.extend(remark[:300] for remark in remarks if len(schema.warnings) < _MAX_WARNINGS)

    def _check_usable(self, schema: DataSchema) -> None:
        kinds = {column.kind for column in schema.columns}
        if not schema.label and COLUMN_KIND_TEXT not in kinds:
            names = list(self._source.columns)
            alone = f": {names[0]!r} is the only column" if len(names) == 1 else ""
            raise TaskError(
                "TASK",
                f"there is no label column{alone}; without one only a column of text can be learnt from; "
                "add a column `label`, or choose the label with --label COLUMN",
            )
        if not kinds & _LEARNABLE:
            why = f" ({schema.warnings[-1]})" if schema.warnings else ""
            raise TaskError("TASK", f"no column beside the label {schema.label!r} can be trained on{why}")
