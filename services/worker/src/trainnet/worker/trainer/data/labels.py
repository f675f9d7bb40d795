"""What one pass over the label finds out: its classes, in training rows and in held-out ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainnet.v1.dataset_pb2 import LabelClass
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import as_text

MAX_CLASSES = 1000
REMEDY = "choose the label with --label COLUMN"
_MAX_NAME = 1000


class LabelScan:
    """Counts classes until there are too many; keeps what is wrong until somebody asks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._rows = 0
        self._training: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._problem: str | None = None
        self.too_many = False

    def add(self, values: pa.Array, held: NDArray[np.bool_] | None) -> None:
        """Takes the next values, and which of their rows are held out."""
        first_row, self._rows = self._rows + 1, self._rows + len(values)
        if self._problem:
            return
        try:
            text = as_text(values)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            self._problem = f"column {self.name!r} holds {values.type}, which cannot be a label; {REMEDY}"
            return
        if text.null_count:
            row = first_row + pc.index(pc.is_null(text), value=True).as_py()
            self._problem = f"row {row} has no value in the label column {self.name!r}; fill or remove the row"
            return
        if self.too_many:
            return
        if held is None:
            _count(text, self._training)
        else:
            _count(text.filter(pa.array(~held)), self._training)
            _count(text.filter(pa.array(held)), self._held)
        if len(self._training) > MAX_CLASSES or len(self._held) > MAX_CLASSES:
            self.too_many = True
            self._training.clear()
            self._held.clear()

    def check_text(self) -> None:
        """Raises TaskError where a row has no text."""
        if self._problem:
            raise TaskError("TASK", self._problem)

    def classes(self, *, has_split: bool) -> list[LabelClass]:
        """Classes in the order of the model's outputs, with their rows. Raises TaskError where they are no classes, or
        where training rows miss one that held-out rows have."""
        self.check_text()
        total = self._training + self._held
        if self.too_many or len(total) > MAX_CLASSES:
            raise self._error(f"has more than {MAX_CLASSES} different values, so no classes; {REMEDY}")
        broken = next((name for name in total if "\n" in name), None)
        if broken is not None:
            raise TaskError(
                "TASK",
                f"a value of the label column {self.name!r} runs over several lines ({broken[:40]!r}); "
                f"close the quote that it begins with",
            )
        long = next((name for name in total if len(name) > _MAX_NAME), None)
        if long is not None:
            raise self._error(f"has a value of {len(long)} characters ({long[:40]!r}…), so no classes; {REMEDY}")
        if len(total) == 1:
            raise self._error(f"has one class only ({next(iter(total))!r}); {REMEDY}")
        if len(total) > 20 and any(_is_fraction(name) for name in total):
            raise self._error(f"holds measurements ({next(iter(total))}, …), no classes; {REMEDY}")
        names = sorted(total, key=int) if all(_is_integer(name) for name in total) else sorted(total)
        unseen = [name for name in names if not self._training[name]] if has_split else []
        if unseen:
            shown = ", ".join(map(repr, unseen[:5])) + (", …" if len(unseen) > 5 else "")
            raise self._error(
                f"has classes that stand in held-out rows only ({shown}), which no model could learn; "
                "move some of their rows to the training rows, or choose another split"
            )
        return [LabelClass(name=name, rows=total[name]) for name in names]

    def _error(self, what: str) -> TaskError:
        return TaskError("TASK", f"the label column {self.name!r} {what}")


def rare(classes: list[LabelClass], rows: int) -> list[str]:
    """Remarks on classes far smaller than the largest."""
    most = max(label.rows for label in classes)
    found = [label for label in classes if label.rows * 100 < most or label.rows < 2]
    remarks = [f"class {label.name!r} is rare: {label.rows} of {rows} rows"[:300] for label in found[:9]]
    if len(found) > len(remarks):
        remarks.append(f"{len(found) - len(remarks)} more classes are rare")
    return remarks


def _count(text: pa.Array, into: Counter[str]) -> None:
    for entry in pc.value_counts(text):
        into[entry["values"].as_py()] += entry["counts"].as_py()


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
