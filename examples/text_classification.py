"""Which book is a verse from? A small DistilBERT, trained from scratch on a table of texts.

    trainnet up                              # in another terminal, or set TRAINNET_COORDINATOR and TRAINNET_TOKEN
    python examples/text_classification.py

The table, `data/king_james.csv`, has verses of Genesis, Psalms and Proverbs (King James Version, public domain). The
tokenizer is trained on it too, by the same job.
"""

from pathlib import Path

from transformers import pipeline

from trainnet.client import Client

VERSES = Path(__file__).parent / "data" / "king_james.csv"
FOLDER = Path("which-book")

ASKED = (
    "And Enoch begat Noah, and lived after he begat Noah four hundred years.",
    "Praise the LORD, O my soul: sing unto him upon the harp.",
    "A soft answer maketh a wise man glad, but a fool loveth strife.",
)


def main() -> None:
    with Client() as client:
        dataset = client.upload_dataset(VERSES, label="book").wait()
        profile = dataset.profile
        assert profile is not None, "a data set that is READY has a profile"
        print(f"{dataset.name}: {profile.rows} verses, {dict(profile.classes)}")

        job = client.train(
            dataset,
            "distilbert",
            rounds=3,
            shards=2,
            split="stratified",
            hyperparameters={"size": "tiny", "vocab_size": 2000, "max_length": 64, "learning_rate": 1e-3},
        )
        job.wait(progress=True)
        print(f"accuracy on held-out verses: {job.metrics['accuracy']:.3f}")
        folder = job.download(FOLDER, overwrite=True)

    classify = pipeline("text-classification", model=str(folder))
    for verse in ASKED:
        found = classify(verse)[0]
        print(f"{found['label']:>8} {found['score']:.2f}  {verse}")


if __name__ == "__main__":
    main()
