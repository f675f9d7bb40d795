"""Which column is what: the owner's word first, then names that are usual, then what the values are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from trainnet.v1.dataset_pb2 import COLUMN_KIND_AUDIO, COLUMN_KIND_IMAGE, ColumnKind
from trainnet.v1.task_pb2 import InspectSpec
from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.data.columns import as_bytes, is_media, is_number, is_text
from trainnet.worker.trainer.data.media import sniff
from trainnet.worker.trainer.data.sources.source import Source

NONE = "-"
LABEL_NAMES = ("label", "target", "class", "y")
TRANSCRIPT_NAMES = ("text", "transcription", "transcript", "sentence")
SPLIT_NAME = "split"

_MEDIA_KINDS = {"image": COLUMN_KIND_IMAGE, "audio": COLUMN_KIND_AUDIO}


@dataclass(frozen=True)
class Reading:
    """What the owner says; empty where nothing."""

    label: str = ""
    split: str = ""
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)


@dataclass(frozen=True)
class Roles:
    """Columns by what they are for; None where there is none. A label or split is `guessed` where only its name or
    place speaks for it, so that its values may show that it is none."""

    label: str | None
    label_guessed: bool
    split: str | None
    split_guessed: bool
    media: str | None
    media_kind: str


def reading_of(spec: InspectSpec) -> Reading:
    """The reading that a task asks for."""
    asked = spec.reading
    return Reading(asked.label_column or spec.label_column, asked.split_column, dict(asked.column_kinds))


def choose(source: Source, reading: Reading, first: pa.RecordBatch) -> Roles:
    """Decides before the pass over the rows, by names, types and the first row. Raises TaskError naming a column that
    the owner asked for and that is not there, or cannot be what it is to be."""
    columns = source.columns
    for name in reading.kinds:
        _check_there(columns, name, "column")
    media, media_kind = _media(columns, reading, first)
    split, split_guessed = reading.split, False
    if split == NONE:
        split = ""
    elif split:
        _check_there(columns, split, "split column")
        if not (is_text(columns[split]) or is_number(columns[split])):
            raise TaskError("TASK", f"column {split!r} cannot be the split: it holds {columns[split]}, not text")
    else:
        split_guessed = True
        split = next((name for name in columns if name.lower() == SPLIT_NAME and name != reading.label), "")
        if split in reading.kinds or (split and not is_text(columns[split])):
            split = ""
    names = [name for name in columns if name not in {media, split}]
    label, label_guessed = _label(names, reading.label, media_kind, columns)
    if label is not None and label == split:
        raise TaskError("TASK", f"column {label!r} cannot be both the label and the split; choose another one")
    return Roles(label, label_guessed, split or None, split_guessed, media, media_kind)


def _check_there(columns: Mapping[str, pa.DataType], name: str, what: str) -> None:
    if name not in columns:
        names = list(columns)
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise TaskError("TASK", f"there is no {what} {name!r}; the columns are {shown}")


def _media(columns: Mapping[str, pa.DataType], reading: Reading, first: pa.RecordBatch) -> tuple[str | None, str]:
    """The column of images or sounds: as the owner says, else by its name, else the only one that begins with one."""
    asked = {
        name: kind for name, wanted in reading.kinds.items() for kind, code in _MEDIA_KINDS.items() if wanted == code
    }
    for name, kind in asked.items():
        if not is_media(columns[name]):
            raise TaskError(
                "TASK", f"column {name!r} cannot be {kind}: it holds {columns[name]}, not the bytes of files"
            )
    if len(asked) > 1:
        raise TaskError("TASK", f"columns {' and '.join(map(repr, asked))} are both to be files; models take one")
    if asked:
        return next(iter(asked.items()))
    # Where all columns are text, as in a CSV, one called `image` may hold names of files.
    typed = any(not pa.types.is_string(kind) for kind in columns.values())
    for kind, what in (("image", "PNG or JPEG images"), ("audio", "WAV or FLAC sounds")):
        if kind not in columns or kind in reading.kinds:
            continue
        if is_media(columns[kind]):
            return kind, kind
        if typed:
            raise TaskError("TASK", f"column {kind!r} holds {columns[kind]}, not the bytes of {what}")
    found: dict[str, list[str]] = {"image": [], "audio": []}
    for name, arrow in columns.items():
        if is_media(arrow) and name not in reading.kinds and name != reading.label and first.num_rows:
            kind = sniff(as_bytes(first.column(name).slice(0, 1))[0].as_py() or b"")
            if kind:
                found[kind].append(name)
    return next(((names[0], kind) for kind, names in found.items() if len(names) == 1), (None, ""))


def _label(
    names: list[str], asked: str, media_kind: str, columns: Mapping[str, pa.DataType]
) -> tuple[str | None, bool]:
    if asked == NONE:
        return None, False
    if asked:
        if asked in columns and asked not in names:
            raise TaskError("TASK", f"column {asked!r} cannot be the label: it is the {media_kind or 'split'} column")
        _check_there({name: columns[name] for name in names}, asked, "label column")
        return asked, False
    by_name = {name.lower(): name for name in reversed(names)}
    usual = (*LABEL_NAMES, *TRANSCRIPT_NAMES) if media_kind == "audio" else LABEL_NAMES
    found = next((by_name[name] for name in usual if name in by_name), None)
    if found is not None and (media_kind or len(names) > 1):
        return found, False
    if not names or (len(names) == 1 and not media_kind and (found or not is_text(columns[names[0]]))):
        raise TaskError(
            "TASK", f"there is no label column: {next(iter(columns))!r} is the only column; add a column `label`"
        )
    # A single column of text is what language models learn from.
    return (names[-1], True) if media_kind or len(names) > 1 else (None, True)
