"""The architectures of transformers: the folder's own tokenizer and processor prepare what they read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from trainnet.worker.errors import TaskError
from trainnet.worker.predict.inputs import PredictError, read_items
from trainnet.worker.predict.results import Prediction, classified, in_batches
from trainnet.worker.trainer.inputs.sound import decode_sound
from trainnet.worker.trainer.inputs.tokens import load_tokenizer
from trainnet.worker.trainer.models.bundle import TOKENIZER
from trainnet.worker.trainer.models.families import Family
from trainnet.worker.trainer.models.transcription import Transcription


def load_model(family: Family, folder: Path) -> Any:
    """The folder's model. Raises PredictError."""
    try:
        model = family.model_class().from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # transformers says what is wrong by whatever comes to hand
        raise PredictError(f"the model in {folder} cannot be loaded: {error}") from error
    return model.eval()


class TextClassifier:
    """`distilbert` and `bert`."""

    def __init__(self, family: Family, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._model = load_model(family, folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """One for each text; what is longer than the model reads is cut."""
        for items in in_batches(read_items(given, "text", column)):
            names, texts = zip(*items, strict=True)
            inputs = self._tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True)
            logits = self._model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
            yield from classified(names, logits, _classes(self._model))


class ImageClassifier:
    """`vit` and `mobilenet_v2`."""

    def __init__(self, family: Family, folder: Path) -> None:
        import transformers

        self._model = load_model(family, folder)
        loader: Any = transformers.AutoImageProcessor
        self._processor = loader.from_pretrained(folder, local_files_only=True)

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """One for each image."""
        for items in in_batches(read_items(given, "image", column)):
            images = [_image(name, data) for name, data in items]
            pixels = self._processor(images, return_tensors="pt")["pixel_values"]
            yield from classified(
                [name for name, _ in items], self._model(pixel_values=pixels).logits, _classes(self._model)
            )


class Writer:
    """`gpt2`: goes on with a text."""

    def __init__(self, family: Family, folder: Path, max_tokens: int) -> None:
        from transformers import AutoTokenizer

        self._model = load_model(family, folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._max_tokens = max_tokens

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """The text with what likeliest follows it."""
        limit = self._model.config.n_positions
        for name, text in read_items(given, "text", column):
            ids = self._tokenizer(text or self._tokenizer.eos_token, return_tensors="pt")["input_ids"]
            room = limit - ids.shape[1]
            if room < 1:
                raise PredictError(
                    f"the text {name} has {ids.shape[1]} tokens, the model reads {limit}: give it the end of the text"
                )
            made = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=min(room, self._max_tokens),
                max_length=None,
                do_sample=False,
                # Without it a small model says the same word for ever.
                repetition_penalty=1.2,
            )
            yield Prediction(name, text=str(self._tokenizer.decode(made[0], skip_special_tokens=True)))


class Transcriber:
    """`whisper`: writes down what is said."""

    def __init__(self, family: Family, folder: Path) -> None:
        import transformers

        self._model = load_model(family, folder)
        loader: Any = transformers.AutoFeatureExtractor
        self._features = loader.from_pretrained(folder, local_files_only=True)
        tokenizer = load_tokenizer((folder / TOKENIZER).read_bytes())
        limit = self._model.generation_config.max_length or self._model.config.max_target_positions
        self._transcription = Transcription(tokenizer, self._model.config.eos_token_id, limit)

    def predict(self, given: str, column: str) -> Iterator[Prediction]:
        """One for each sound."""
        rate, seconds = self._features.sampling_rate, self._features.chunk_length
        for name, data in read_items(given, "sound", column):
            try:
                sound = decode_sound(data, rate, seconds, 1)
            except TaskError as error:
                raise PredictError(f"{name}: {error.message}") from error
            features = self._features(sound.numpy(), sampling_rate=rate, return_tensors="pt")["input_features"]
            yield Prediction(name, text=self._transcription.transcribe(self._model, features)[0])


def _classes(model: Any) -> list[str]:
    names = model.config.id2label
    return [str(names[index]) for index in range(len(names))]


def _image(name: str, data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PredictError(f"{name} cannot be decoded as PNG or JPEG") from error
