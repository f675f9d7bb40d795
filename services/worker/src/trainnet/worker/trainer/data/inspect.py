"""Reads a data set once and says what it is: columns, label, classes, image shape."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from trainnet.v1.dataset_pb2 import (
    COLUMN_KIND_CATEGORICAL,
    COLUMN_KIND_IGNORED,
    COLUMN_KIND_NUMERIC,
    DataSchema,
    LabelClass,
)
from trainnet.v1.task_pb2 import InspectResult, InspectSpec, TaskResult
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.context import TaskContext
from trainnet.worker.trainer.data.columns import as_text
from trainnet.worker.trainer.data.scan import ColumnScan, ImageScan
from trainnet.worker.trainer.data.source import Source, is_image_type, open_source

LABEL_NAMES = ("label", "target", "class", "y")
MAX_CLASSES = 1000
MAX_SCHEMA_BYTES = 128 * 1024
_REMEDY = "choose the label with --label COLUMN"


def inspect(spec: InspectSpec, context: TaskContext) -> TaskResult:
    """Result InspectResult. Constant memory. Raises TaskError, one line that says what to mend."""
    context.loading()
    source = open_source(context.inputs["source"], spec.format)
    image = _image_column(source)
    label = _label_column(source, spec.label_column, image)
    scans = {name: ColumnScan(name, kind) for name, kind in source.columns.items() if name not in {label, image}}
    images = ImageScan(image) if image else None
    classes: Counter[str] = Counter()
    rows = 0

    context.running()
    for number, batch in enumerate(source.batches(), start=1):
        _count_labels(batch.column(label), label, rows, classes)
        for name, scan in scans.items():
            scan.add(batch.column(name))
        if images and image:
            images.add(batch.column(image))
        rows += batch.num_rows
        context.step(number, 0, batch.num_rows)

    if rows == 0:
        raise TaskError("TASK", "the data set has no rows")
    schema = DataSchema(label=label, rows=rows)
    _set_classes(schema, classes)
    _set_columns(schema, source, scans, images)
    _check_usable(schema)
    return TaskResult(inspect=InspectResult(schema=schema))


def _image_column(source: Source) -> str | None:
    """The column of images: `image`, else the only column of bytes."""
    kind = source.columns.get("image")
    if kind is not None and source.delimiter is None:
        if is_image_type(kind):
            return "image"
        raise TaskError("TASK", f"column 'image' holds {kind}, not the bytes of PNG or JPEG images")
    candidates = [name for name, kind in source.columns.items() if is_image_type(kind)]
    return candidates[0] if len(candidates) == 1 else None


def _label_column(source: Source, asked: str, image: str | None) -> str:
    names = [name for name in source.columns if name != image]
    if asked:
        if asked not in names:
            shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise TaskError("TASK", f"there is no label column {asked!r}; the columns are {shown}")
        return asked
    by_name = {name.lower(): name for name in reversed(names)}
    found = next((by_name[name] for name in LABEL_NAMES if name in by_name), names[-1] if names else None)
    if found is None or (len(names) == 1 and image is None):
        only = next(iter(source.columns))
        raise TaskError("TASK", f"there is no label column: {only!r} is the only column; add a column `label`")
    return found


def _count_labels(values: pa.Array, label: str, rows: int, classes: Counter[str]) -> None:
    try:
        text = as_text(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise TaskError("TASK", f"column {label!r} holds {values.type}, which cannot be a label; {_REMEDY}") from None
    if text.null_count:
        row = rows + 1 + pc.index(pc.is_null(text), value=True).as_py()
        raise TaskError("TASK", f"row {row} has no value in the label column {label!r}; fill or remove the row")
    for entry in pc.value_counts(text):
        classes[entry["values"].as_py()] += entry["counts"].as_py()
    if len(classes) > MAX_CLASSES:
        raise TaskError(
            "TASK", f"the label column {label!r} has more than {MAX_CLASSES} different values, so no classes; {_REMEDY}"
        )


def _set_classes(schema: DataSchema, classes: Counter[str]) -> None:
    broken = next((name for name in classes if "\n" in name), None)
    if broken is not None:
        raise TaskError(
            "TASK",
            f"a value of the label column {schema.label!r} runs over several lines ({broken[:40]!r}); "
            f"close the quote that it begins with",
        )
    if len(classes) == 1:
        raise TaskError(
            "TASK", f"the label column {schema.label!r} has one class only ({next(iter(classes))!r}); {_REMEDY}"
        )
    if len(classes) > 20 and any(_is_fraction(name) for name in classes):
        raise TaskError(
            "TASK",
            f"the label column {schema.label!r} holds measurements ({next(iter(classes))}, …), no classes; {_REMEDY}",
        )
    names = sorted(classes, key=int) if all(_is_integer(name) for name in classes) else sorted(classes)
    schema.classes.extend(LabelClass(name=name, rows=classes[name]) for name in names)
    most = max(classes.values())
    schema.warnings.extend(
        f"class {name!r} is rare: {classes[name]} of {schema.rows} rows"
        for name in names
        if classes[name] * 100 < most or classes[name] < 2
    )
    del schema.warnings[10:]


def _set_columns(schema: DataSchema, source: Source, scans: dict[str, ColumnScan], images: ImageScan | None) -> None:
    for name in source.columns:
        if images and name == images.name:
            column, shape, remarks = images.result()
            schema.columns.append(column)
            schema.image.CopyFrom(shape)
            schema.warnings.extend(remarks)
        elif name in scans:
            column, remark = scans[name].result()
            if images:
                column.kind, remark = COLUMN_KIND_IGNORED, f"column {name!r} is left out: image models take the image"
                column.ClearField("categories")
            schema.columns.append(column)
            if remark and len(schema.warnings) < 50:
                schema.warnings.append(remark[:300])


def _check_usable(schema: DataSchema) -> None:
    used = {COLUMN_KIND_NUMERIC, COLUMN_KIND_CATEGORICAL}
    if not schema.HasField("image") and not any(column.kind in used for column in schema.columns):
        why = f" ({schema.warnings[-1]})" if schema.warnings else ""
        raise TaskError("TASK", f"no column beside the label {schema.label!r} can be trained on{why}")
    # The description travels with every task, in messages of at most 256 KiB.
    if schema.ByteSize() > MAX_SCHEMA_BYTES:
        raise TaskError(
            "TASK", f"the data set has too many columns or categories ({len(schema.columns)} columns); leave some out"
        )


def _is_integer(text: str) -> bool:
    try:
        # Only the plain spelling: 7 and 07 are different labels of the same number.
        return str(int(text)) == text
    except ValueError:
        return False


def _is_fraction(text: str) -> bool:
    try:
        return not float(text).is_integer()
    except (ValueError, OverflowError):
        return False
