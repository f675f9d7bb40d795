"""A small language model in two steps: from scratch on one text, then LoRA on another.

    trainnet up                              # in another terminal, or set TRAINNET_COORDINATOR and TRAINNET_TOKEN
    python examples/lora_language_model.py

The first job learns Genesis and Psalms (King James Version, public domain) from scratch, its tokenizer included. The
second starts from it and learns Proverbs with an adapter of rank 8: only that travels in its rounds, a fraction of the
weights. What comes back is whole again, the adapter merged into the model.
"""

import csv
from pathlib import Path

from transformers import pipeline, set_seed

from trainnet.client import Client

VERSES = Path(__file__).parent / "data" / "king_james.csv"
FOLDER = Path("proverbs")
MODEL = {"size": "tiny", "vocab_size": 2000, "max_length": 64, "learning_rate": 1e-3}


def write_text(path: Path, *books: str) -> Path:
    """The verses of the books, one a line."""
    with VERSES.open(encoding="utf-8", newline="") as file:
        lines = [row["text"] for row in csv.DictReader(file) if row["book"] in books]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    with Client() as client:
        first = client.train(
            write_text(Path("genesis-and-psalms.txt"), "genesis", "psalms"),
            "gpt2",
            rounds=2,
            shards=2,
            local_steps=60,
            hyperparameters=MODEL,
        ).wait(progress=True)

        job = client.train(
            write_text(Path("proverbs.txt"), "proverbs"),
            "gpt2",
            base=first,
            rounds=2,
            shards=2,
            local_steps=30,
            hyperparameters={**MODEL, "lora.rank": 8, "lora.alpha": 32, "learning_rate": 5e-3},
        ).wait(progress=True)

        print(f"rounds changed {job.trainable_parameters:,} of {job.parameters:,} weights")
        before, after = job.initial_metrics["perplexity"], job.metrics["perplexity"]
        print(f"perplexity on held-out proverbs: {before:.1f} before, {after:.1f} after")
        folder = job.download(FOLDER, overwrite=True)

    write = pipeline("text-generation", model=str(folder))
    set_seed(0)
    print(write("A wise man", max_new_tokens=30)[0]["generated_text"])


if __name__ == "__main__":
    main()
