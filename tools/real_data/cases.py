"""What is trained: one line of the table each."""

from __future__ import annotations

from dataclasses import dataclass, field

WORKERS = 2


@dataclass(frozen=True)
class Case:
    """A data set, an architecture, and the arguments of `trainnet train`."""

    name: str
    file: str
    architecture: str
    rounds: int
    shards: int = 2
    epochs: int = 0
    local_steps: int = 0
    settings: dict[str, object] = field(default_factory=dict)
    label: str = ""
    base: str = ""
    """A file or folder beside the data, or the name of an earlier case whose model it starts from."""
    holdout: float = 0.2
    remark: str = ""

    def arguments(self, base: str) -> list[str]:
        """Of `trainnet train`, the data set left out."""
        found = ["--architecture", self.architecture, "--rounds", str(self.rounds), "--shards", str(self.shards)]
        found += ["--local-steps", str(self.local_steps)] if self.local_steps else ["--epochs", str(self.epochs or 1)]
        found += ["--holdout", str(self.holdout), "--seed", "1"]
        if base:
            found += ["--base", base]
        for name, value in self.settings.items():
            found += ["--set", f"{name}={value}"]
        return found


CASES = (
    Case("iris", "iris.csv", "mlp", 5, epochs=20, settings={"learning_rate": 0.1, "batch_size": 16}),
    Case("breast cancer", "breast-cancer.csv", "mlp", 5, epochs=5, settings={"batch_size": 32}),
    Case("Fashion-MNIST, zip", "fashion.zip", "cnn", 3, remark="the official test images are held out"),
    Case(
        "Fashion-MNIST, Parquet",
        "fashion.parquet",
        "mobilenet_v2",
        10,
        local_steps=100,
        settings={"size": "tiny", "image_size": 32, "batch_size": 32},
        remark="the official test images are held out",
    ),
    Case(
        "Reuters R8",
        "reuters-r8.csv",
        "distilbert",
        4,
        epochs=1,
        settings={"size": "tiny", "max_length": 96, "batch_size": 16, "learning_rate": 0.001},
        remark="from scratch; the official test texts are held out",
    ),
    Case(
        "Rotten Tomatoes",
        "rotten-tomatoes.csv",
        "bert",
        2,
        local_steps=100,
        settings={"max_length": 64, "batch_size": 16, "learning_rate": 0.0001},
        base="minilm",
        remark="on a pretrained sentence encoder",
    ),
    Case(
        "King James",
        "king-james.txt",
        "gpt2",
        3,
        local_steps=150,
        settings={"size": "tiny", "max_length": 96, "batch_size": 8, "vocab_size": 2000, "learning_rate": 0.002},
        holdout=0.05,
        remark="from scratch",
    ),
    Case(
        "King James, LoRA",
        "king-james.txt",
        "gpt2",
        2,
        local_steps=60,
        settings={"max_length": 96, "batch_size": 8, "lora.rank": 8, "learning_rate": 0.002},
        base="King James",
        holdout=0.05,
        remark="an adapter on the model above",
    ),
    Case(
        "spoken digits",
        "speech.zip",
        "whisper",
        4,
        epochs=6,
        settings={"size": "tiny", "max_length": 24, "batch_size": 8, "learning_rate": 0.001, "max_seconds": 4},
        remark="600 sentences of three digits, synthesised by espeak-ng: a toy",
    ),
)
