"""Which architectures fit which data."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainnet.coordinator.domain.catalog import ARCHITECTURES, Architecture, Data, Task


@dataclass(frozen=True)
class Contents:
    """What matters of a data set's schema."""

    encodable: int = 0
    """Columns of numbers and categories, the label left out."""
    images: int = 0
    texts: int = 0
    sounds: int = 0
    label: str = ""
    classes: int = 0
    label_is_text: bool = False


@dataclass(frozen=True)
class Misfit:
    """Why data and architecture do not go together."""

    field: str
    """`architecture` where another one would do, `dataset` where none would before the data are read otherwise."""
    message: str


def misfit(
    architecture: Architecture, contents: Contents, name: str, catalogue: Mapping[str, Architecture] = ARCHITECTURES
) -> Misfit | None:
    """Why an architecture cannot learn from the data set `name`, with the remedy; None where it can."""
    problem = _lacking(architecture, contents)
    if problem is None:
        return None
    why, remedy = problem
    fitting = [item.name for item in catalogue.values() if item.data is not Data.NONE and not _lacking(item, contents)]
    if fitting:
        return Misfit("architecture", f"{why}, {name} {_shown(contents)}: use {' or '.join(fitting)}, or {remedy}")
    return Misfit("dataset", f"{why}, {name} {_shown(contents)}: {remedy}")


def _lacking(architecture: Architecture, contents: Contents) -> tuple[str, str] | None:
    """(what the architecture needs and the data lack, how to give it)."""
    needs = {
        Data.NONE: (True, "", ""),
        Data.TABULAR: (
            contents.encodable > 0 and not contents.images,
            "a column of numbers or categories",
            "use a data set with such columns",
        ),
        Data.IMAGE: (contents.images > 0, "an image column", "use a data set of images"),
        Data.TEXT: (contents.texts > 0, "a text column", "have one of its columns read as text"),
        Data.AUDIO: (contents.sounds > 0, "a sound column", "use a data set of sounds"),
    }
    there, what, remedy = needs[architecture.data]
    if not there:
        return f"{architecture.name} needs {what}", remedy
    if architecture.task is Task.CLASSIFICATION and contents.classes < 2:
        return f"{architecture.name} needs a label with two classes or more", "have another column read as its label"
    if architecture.task is Task.TRANSCRIPTION and not contents.label_is_text:
        return f"{architecture.name} needs a label that is text", "have the column of what is spoken read as its label"
    return None


def _shown(contents: Contents) -> str:
    """`has an image column and the label y of 10 classes`."""
    counts = (
        (contents.images, "image"),
        (contents.texts, "text"),
        (contents.sounds, "sound"),
        (contents.encodable, "number or category"),
    )
    parts = [f"{count} {kind} column{'' if count == 1 else 's'}" for count, kind in counts if count]
    if contents.label_is_text:
        parts.append(f"the text label {contents.label}")
    elif contents.label:
        parts.append(f"the label {contents.label} of {contents.classes} class{'' if contents.classes == 1 else 'es'}")
    else:
        parts.append("no label")
    return f"has {' and '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)}"
