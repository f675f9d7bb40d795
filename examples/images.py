"""Handwritten digits: a folder of class folders becomes a vision transformer that transformers loads.

    trainnet up                              # in another terminal, or set TRAINNET_COORDINATOR and TRAINNET_TOKEN
    python examples/images.py

The digits are those of scikit-learn, 8 x 8 pixels, written as PNGs: `digits/0/…png`, `digits/1/…png`. Uploading the
folder zips it on the way. The split by Dirichlet makes shards unlike, as different owners' data would be.
"""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits
from transformers import pipeline

from trainnet.client import Client

PICTURES = Path("digits")
FOLDER = Path("which-digit")

# The smallest size made smaller still: every field of the configuration can be set.
MODEL = {
    "size": "tiny",
    "config.patch_size": 2,
    "config.hidden_size": 64,
    "config.intermediate_size": 128,
    "config.num_hidden_layers": 2,
    "config.num_attention_heads": 4,
    "batch_size": 32,
    "learning_rate": 2e-3,
}


def write_digits(folder: Path) -> None:
    """A folder for each digit, with its pictures."""
    digits = load_digits()
    for index, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(path)


def main() -> None:
    write_digits(PICTURES)
    with Client() as client:
        dataset = client.upload_dataset(PICTURES).wait()
        assert dataset.schema is not None, "a data set that is READY has a schema"
        print(f"{dataset.name}: {dataset.schema.rows} pictures of {dataset.schema.image}")

        job = client.train(
            dataset,
            "vit",
            rounds=4,
            shards=2,
            epochs=4,
            split="dirichlet",
            alpha=1.0,
            hyperparameters=MODEL,
        )
        job.wait(progress=True)
        print(f"accuracy on held-out pictures: {job.metrics['accuracy']:.3f}")
        folder = job.download(FOLDER, overwrite=True)

    classify = pipeline("image-classification", model=str(folder))
    for picture in sorted(PICTURES.glob("*/*.png"))[::300]:
        found = classify(str(picture))[0]
        print(f"{picture}: {found['label']} ({found['score']:.2f})")


if __name__ == "__main__":
    main()
