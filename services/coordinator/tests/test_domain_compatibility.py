"""Which architectures fit which data, and what is said where they do not."""

import pytest

from trainnet.coordinator.domain.catalog import ARCHITECTURES
from trainnet.coordinator.domain.compatibility import Contents, misfit

TABLE = Contents(encodable=3, label="kind", classes=2)
IMAGES = Contents(images=1, label="label", classes=10)
TEXTS = Contents(texts=1, label="mood", classes=2)
PLAIN = Contents(texts=1)
SPEECH = Contents(sounds=1, label="text", label_is_text=True)
WORDS = Contents(sounds=1, label="word", classes=5)


def fitting(contents: Contents) -> list[str]:
    return [name for name, item in ARCHITECTURES.items() if misfit(item, contents, "datasets/d") is None]


@pytest.mark.parametrize(
    ("contents", "names"),
    [
        (TABLE, ["mlp", "noop"]),
        (IMAGES, ["cnn", "mobilenet_v2", "noop", "vit"]),
        (TEXTS, ["bert", "distilbert", "gpt2", "noop"]),
        (PLAIN, ["gpt2", "noop"]),
        (SPEECH, ["noop", "whisper"]),
        (WORDS, ["noop"]),
    ],
)
def test_what_fits(contents: Contents, names: list[str]) -> None:
    assert fitting(contents) == names


@pytest.mark.parametrize(
    ("architecture", "contents", "field", "message"),
    [
        (
            "bert",
            IMAGES,
            "architecture",
            (
                "bert needs a text column, datasets/d has 1 image column and the label label of 10 classes: "
                "use cnn or mobilenet_v2 or vit, or have one of its columns read as text"
            ),
        ),
        (
            "distilbert",
            PLAIN,
            "architecture",
            (
                "distilbert needs a label with two classes or more, datasets/d has 1 text column and no label: "
                "use gpt2, or have another column read as its label"
            ),
        ),
        (
            "whisper",
            WORDS,
            "dataset",
            (
                "whisper needs a label that is text, datasets/d has 1 sound column and the label word of 5 classes: "
                "have the column of what is spoken read as its label"
            ),
        ),
        (
            "mlp",
            Contents(encodable=1, label="y", classes=1),
            "dataset",
            (
                "mlp needs a label with two classes or more, datasets/d has 1 number or category column and the "
                "label y of 1 class: have another column read as its label"
            ),
        ),
        (
            "gpt2",
            Contents(),
            "dataset",
            "gpt2 needs a text column, datasets/d has no label: have one of its columns read as text",
        ),
    ],
)
def test_what_is_said(architecture: str, contents: Contents, field: str, message: str) -> None:
    found = misfit(ARCHITECTURES[architecture], contents, "datasets/d")
    assert found is not None
    assert (found.field, found.message) == (field, message)
